from __future__ import annotations

import subprocess
import sys
import warnings

import numba
import pytest

from carrossel.cells.kernels import compilation, notices, threads, warming
from carrossel.cells.kernels.compilation import compile_callback
from carrossel.cells.kernels.machine import Machine, read_machine


@pytest.fixture(autouse=True)
def _forget_warnings(monkeypatch):
    monkeypatch.setattr(notices, "_warned", set())


def build():
    def nothing(number):
        pass

    return nothing


def test_a_folder_that_cant_be_written_costs_one_warning(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file" / "folder"))
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "UserProvidedCacheLocator")
    with pytest.warns(RuntimeWarning, match="Set NUMBA_CACHE_DIR to a folder that can be written"):
        assert compile_callback(build(), "void(int64)") != 0

    assert compile_callback(build(), "void(int64)") != 0  # a second warning would be an error


def test_a_thread_that_cant_start_costs_one_warning(monkeypatch):
    class Exhausted:
        def submit(self, *_):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pools", [Exhausted()])
    shares = []
    with pytest.warns(RuntimeWarning, match="no more threads can be started") as caught:
        threads.run_blocks(lambda *share: shares.append(share), blocks=5, threads=3)

    assert sorted(shares) == [(0, 1, 0), (1, 3, 1), (3, 5, 2)]
    assert len(caught) == 1


def test_an_error_in_a_thread_is_raised():
    def fail(_first, _last, thread):
        if thread == 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        threads.run_blocks(fail, blocks=4, threads=2)


def test_a_compiled_function_is_loaded_by_the_next_process(tmp_path):
    code = """
from carrossel.cells.kernels import engine, rows
from carrossel.cells.ungated import TANH
engine.forward_phases(TANH)
"""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PATH": "", "PYTHONPATH": ":".join(sys.path)}

    def compiled():
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        return {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.nbc")}

    first = compiled()

    assert len(first) == 1
    assert compiled() == first


def test_the_cached_name_changes_with_a_part(monkeypatch, tmp_path):
    (tmp_path / "part_of_a_cell.py").write_text("def f(a):\n    return a\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    from part_of_a_cell import f  # made by this test

    before = compilation._rename(build(), (f,))
    (tmp_path / "part_of_a_cell.py").write_text("def f(a):\n    return a + 1\n", encoding="utf-8")

    assert compilation._rename(build(), (f,)) != before
    assert compilation._rename(build(), ()) == compilation._rename(build(), ())


def test_warming_says_what_it_compiles():
    lines = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warming.warm(["rnn"], lines.append)

    assert lines == [
        "cells: kernels 1 of 4: products",
        "cells: kernels 2 of 4: forward pass",
        "cells: kernels 3 of 4: backward pass",
        "cells: kernels 4 of 4: rnn",
    ]


@pytest.mark.parametrize(
    ("features", "architecture", "expected"),
    [
        ({"avx512f": True, "avx2": True, "fma": True}, "x86_64", Machine(16, 6, 4)),
        ({"avx2": True, "fma": True}, "x86_64", Machine(8, 6, 2)),
        ({"avx2": True}, "x86_64", Machine(4, 4, 2)),
        ({}, "x86_64", Machine(4, 4, 2)),
        ({"neon": True}, "aarch64", Machine(4, 6, 4)),
        ({}, "arm64", Machine(4, 6, 4)),
    ],
)
def test_tiles_fit_the_registers(features, architecture, expected):
    assert read_machine(features, architecture) == expected
