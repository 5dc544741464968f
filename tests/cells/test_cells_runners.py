"""Which fast path runs a cell on CUDA; a stand-in says that tensors are there."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

from carrossel.cells import registry
from carrossel.cells.kernels import notices
from carrossel.cells.kernels.bptt import TorchRunner
from carrossel.cells.kernels.operation import run
from carrossel.cells.unrolling import runners
from carrossel.cells.unrolling.scan import run_scan
from carrossel.cells.unrolling.torch_layer import run_torch_layer

KERNELS = object()
everywhere = pytest.mark.parametrize("backend", ["auto", "torch", "numba"])


class OnCuda(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True
    is_cpu = False


@pytest.fixture
def _on_cuda(monkeypatch):
    monkeypatch.setattr(runners, "_triton", lambda: lambda _maths, _device, _hidden: KERNELS)


def choose(kind, backend="auto", hidden=3, dtype=torch.float32, tensor=OnCuda):
    cls = registry.load(kind)
    cell = cls(1, cls.Config(hidden_size=hidden))
    x = torch.zeros(2, 1, 1, dtype=dtype).as_subclass(tensor)
    return runners.choose_runner(cell, x, cell.initial_state(1), backend)


@everywhere
@pytest.mark.parametrize("kind", ["peephole", "peephole_diagonal", "gru", "lem", "janet"])
@pytest.mark.usefixtures("_on_cuda")
def test_cells_without_a_layer_run_by_triton(kind, backend):
    chosen = choose(kind, backend)

    assert chosen.func is run
    assert chosen.args[0] is KERNELS


@everywhere
@pytest.mark.parametrize(
    ("kind", "path"), [("lstm", run_torch_layer), ("coupled", run_torch_layer), ("mingru", run_scan)]
)
@pytest.mark.usefixtures("_on_cuda")
def test_layers_and_the_scan_come_first(kind, path, backend):
    assert choose(kind, backend).func is path


@pytest.mark.usefixtures("_on_cuda")
def test_large_hidden_sizes_run_by_torch():
    assert choose("gru", hidden=512).args[0] is KERNELS
    assert type(choose("gru", hidden=513).args[0]) is TorchRunner


@pytest.mark.usefixtures("_on_cuda")
def test_other_precisions_run_by_torch():
    assert type(choose("gru", dtype=torch.float64).args[0]) is TorchRunner


@pytest.mark.usefixtures("_on_cuda")
def test_mixed_precision_runs_by_torch(monkeypatch):
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device == "cuda")

    assert type(choose("gru").args[0]) is TorchRunner


@pytest.mark.usefixtures("_on_cuda")
def test_without_triton_torch_takes_over(monkeypatch):
    monkeypatch.setattr(runners, "_triton", lambda: None)

    assert type(choose("gru").args[0]) is TorchRunner


def test_the_cpu_never_asks_for_triton(monkeypatch):
    monkeypatch.setattr(runners, "_triton", None)

    assert choose("gru", "torch", tensor=torch.Tensor).args[0] is runners._TORCH


@pytest.mark.parametrize(
    ("found", "interpret", "version"), [(False, "0", "13.0"), (True, "1", "13.0"), (True, "0", None)]
)
def test_where_triton_cant_compile_for_cuda_nobody_is_told(found, interpret, version, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object() if found else None)
    monkeypatch.setenv("TRITON_INTERPRET", interpret)
    monkeypatch.setattr(torch.version, "cuda", version)

    assert runners._triton.__wrapped__() is None


def test_a_broken_triton_costs_one_warning(monkeypatch):
    monkeypatch.setattr(notices, "_warned", set())
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setitem(sys.modules, "carrossel.cells.kernels.cuda.trust", None)
    with pytest.warns(RuntimeWarning, match=r"Triton can't be imported \(ModuleNotFoundError"):
        assert runners._triton.__wrapped__() is None
