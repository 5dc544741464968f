"""Which fast path runs a cell on given tensors. Knows no cell."""

from __future__ import annotations

import importlib.util
import os
from functools import cache, partial
from typing import TYPE_CHECKING

import torch

from carrossel.cells.base import Cell
from carrossel.cells.kernels.bptt import TorchRunner
from carrossel.cells.kernels.notices import warn_once
from carrossel.cells.kernels.operation import run
from carrossel.cells.unrolling.scan import run_scan
from carrossel.cells.unrolling.torch_layer import run_torch_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from carrossel.cells.base import State
    from carrossel.cells.kernels.form import FastForm, GateMaths
    from carrossel.cells.kernels.operation import Runner

_TORCH = TorchRunner()
LARGEST_ON_CUDA = 512
"""Hidden size up to which Triton's kernels run: beyond, a program that reads all weights at every step is the slower way."""

LARGEST_OFFSET = 2**31
"""Triton's kernels count a step's numbers in 32 bits."""


def choose_runner(
    cell: Cell, x: Tensor, state: State | None, backend: str
) -> Callable[[Tensor, State | None], tuple[Tensor, State]] | None:
    """What runs the cell other than its loop, or None; `backend` as in `carrossel.cells.unrolling.unroll`."""
    if cell.needs_loop:
        return None
    tracing = torch.compiler.is_compiling()  # a graph is being recorded: kernels and hand-written passes can't be in it
    form = None if tracing or x.shape[1] == 0 else cell.fast()
    if form is not None and backend != "torch" and _fits_kernel(form, x, state):
        kernel = _kernel()
        if kernel is not None:
            return partial(run, kernel, form)
    if type(cell).coefficients is not Cell.coefficients and not tracing:
        return partial(run_scan, cell)
    fused = cell.fused()
    if fused is not None:
        return partial(run_torch_layer, cell, fused)
    return None if form is None else partial(run, _choose_written_out(form, x, state), form)


def _choose_written_out(form: FastForm, x: Tensor, state: State | None) -> Runner:
    if _fits_triton(form, x, state):
        choose = _triton()
        if choose is not None:
            return choose(form.maths, x.device, form.weight_h.shape[1])
    return _TORCH


def _fits_kernel(form: FastForm, x: Tensor, state: State | None) -> bool:
    return x.is_cpu and _are_single(form, x, state)


def _fits_triton(form: FastForm, x: Tensor, state: State | None) -> bool:
    rows, hidden = form.weight_h.shape
    fits = hidden <= LARGEST_ON_CUDA and x.shape[1] * rows < LARGEST_OFFSET
    return x.is_cuda and fits and not torch.is_autocast_enabled("cuda") and _are_single(form, x, state)


def _are_single(form: FastForm, x: Tensor, state: State | None) -> bool:
    """Whether all tensors are of float32, where x is."""
    device = x.device
    for each in (x, *(state or ()), form.weight_x, form.weight_h, form.bias, form.weight_m, form.vectors):
        # a loop, since this runs in every call, and a generator costs as much as what it tests
        if each is not None and (each.dtype != torch.float32 or each.device != device):
            return False
    return True


@cache
def _kernel() -> Runner | None:
    """The kernels' runner; importing numba takes .4 s, so it waits until a cell needs it."""
    if importlib.util.find_spec("numba") is None or os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return None
    from carrossel.cells.kernels.running import KernelRunner  # imports numba

    return KernelRunner()


@cache
def _triton() -> Callable[[GateMaths, torch.device, int], Runner] | None:
    """What chooses between Triton's kernels and torch's operations; importing Triton waits until a cell on CUDA needs it."""
    if importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET", "0") != "0":
        return None
    if torch.version.cuda is None:  # another maker's GPUs, which torch calls cuda, too
        return None
    try:
        from carrossel.cells.kernels.cuda.trust import choose  # imports Triton
    except Exception as error:  # noqa: BLE001  # a broken installation fails in any way, and cells run without it
        warn_once(
            "triton",
            f"Triton can't be imported ({type(error).__name__}: {error}); on GPUs cells without a layer run slower.",
        )
        return None
    return choose
