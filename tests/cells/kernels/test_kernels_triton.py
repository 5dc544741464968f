"""Triton's kernels as far as a machine without a GPU can tell: interpreted, compiled, and chosen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from kernel_kinds import FORMS

from carrossel.cells.kernels import notices
from carrossel.cells.kernels.bptt import TorchRunner

pytest.importorskip("triton", reason="triton isn't installed here")

from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from carrossel.cells.kernels.cuda import running, trust
from carrossel.cells.kernels.cuda.reading import _read_function

CPU = torch.device("cpu")
SHARED = 99 * 1024
"""Bytes of shared memory that a program can have on the smallest of the GPUs compiled for and their siblings (8.6, 8.9)."""


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(notices, "_warned", set())
    monkeypatch.setattr(trust, "_trusted", {})


def test_interpreted_kernels_are_the_loop_in_float64():
    """All gate maths in one process, since importing torch takes longer than a cell."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("triton_interpreted.py"))],
        capture_output=True,
        text=True,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)

    assert {name: error for name, error in found["errors"].items() if not error < 1e-5} == {}  # float32
    assert found["fault"] is None


class Driver:
    """A GPU that compilers can be told about, and nothing can run on."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_target(self):
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self):
        return self.capability  # Triton remembers kernels by device

    def get_current_stream(self, _device):
        return 0


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """Kernels that calls would launch; they are compiled instead."""
    kernels = []

    def compile_instead(kernel, grid):
        return lambda *args, **kwargs: kernels.append(kernel.run(*args, grid=grid, warmup=True, **kwargs))

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(JITFunction, "__getitem__", compile_instead, raising=False)
    return kernels


@pytest.mark.parametrize(("kind", "capability", "hidden"), [("peephole", 80, 128), ("gru", 90, 50)])
def test_kernels_compile_without_a_gpu(kind, capability, hidden, compiled, monkeypatch):
    monkeypatch.setattr(driver, "_active", Driver(capability))
    for batch, time in ((trust.BATCH, trust.TIME), (1, 1), (16, 160)):
        monkeypatch.setattr(trust, "BATCH", batch)
        monkeypatch.setattr(trust, "TIME", time)
        problem = [None if each is None else each.float() for each in trust._draw(FORMS[kind].maths, hidden)]
        trust._solve(running.TritonRunner(), FORMS[kind].maths, problem)

    kernels = {id(each): each for each in compiled}.values()
    assert [each.metadata.name for each in kernels] == ["unroll_forward", "unroll_backward"]  # the same for all sizes
    for each in kernels:
        assert each.asm["cubin"]
        assert each.metadata.shared <= SHARED
        assert "tf32" in each.asm["ptx"]  # tensor cores; three products each, which is float32's accuracy


class Doubled(TorchRunner):
    """A runner whose outputs are wrong."""

    def forward(self, *args, **kwargs):
        found = super().forward(*args, **kwargs)
        return found._replace(y=2 * found.y)


class Unnumbered(TorchRunner):
    def backward(self, *args, **kwargs):
        found = super().backward(*args, **kwargs)
        return found._replace(bias=found.bias * torch.nan)


class Uncompilable(TorchRunner):
    def forward(self, *args, **kwargs):
        raise OSError("the cache folder\ncan't be written")


@pytest.mark.parametrize(
    ("runner", "fault"),
    [
        (Doubled, r"are off by 1\.0e\+00 there"),
        (Unnumbered, r"are off by nan there"),
        (Uncompilable, r"failed there \(OSError: the cache folder can't be written\)"),
    ],
)
def test_kernels_that_fail_the_first_small_problem_cost_one_warning(runner, fault, monkeypatch):
    monkeypatch.setattr(trust, "TritonRunner", runner)
    with pytest.warns(RuntimeWarning, match=f"on cpu cells run slower, .*: Triton's kernels {fault}"):
        chosen = trust.choose(FORMS["gru"].maths, CPU, 20)

    assert type(chosen) is TorchRunner
    assert type(trust.choose(FORMS["gru"].maths, CPU, 20)) is TorchRunner  # a second warning would be an error
    assert type(trust.choose(FORMS["mgu"].maths, CPU, 20)) is TorchRunner


def test_each_gate_maths_and_hidden_size_is_tried_once(monkeypatch):
    tried = []
    monkeypatch.setattr(trust, "find_fault", lambda _runner, maths, _device, hidden: tried.append((maths, hidden)))
    gru, mgu = FORMS["gru"].maths, FORMS["mgu"].maths
    for maths, hidden in ((gru, 20), (gru, 20), (gru, 21), (mgu, 20), (gru, 21)):
        assert type(trust.choose(maths, CPU, hidden)) is running.TritonRunner

    assert tried == [(gru, 20), (gru, 21), (mgu, 20)]


@pytest.mark.parametrize("kind", ["peephole", "lem", "indrnn", "janet"])
def test_torch_itself_passes_the_small_problem(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert trust.find_fault(TorchRunner(), FORMS[kind].maths, CPU, 20) is None


def test_what_triton_cant_read_is_named():
    with pytest.raises(TypeError, match="gate maths call <built-in function len>"):
        _read_function(len)
