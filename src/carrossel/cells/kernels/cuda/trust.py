"""Kernels run a cell once they have shown on a small problem that they compute what torch does.

A compiler for GPUs depends on the GPU, its driver, Triton's version and a folder that can be written. What goes wrong in
any of them shows before the first sequence, and costs speed, not numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from carrossel.cells.kernels.bptt import TorchRunner
from carrossel.cells.kernels.cuda.running import TritonRunner
from carrossel.cells.kernels.notices import warn_once
from carrossel.cells.kernels.phases import Weights

if TYPE_CHECKING:
    from carrossel.cells.kernels.form import GateMaths
    from carrossel.cells.kernels.operation import Runner

TIME, BATCH, FEATURES = 3, 11, 2
"""The small problem: steps in between, two blocks of sequences, the last of them not full."""
TOLERANCE = 1e-4
TOLERANCE_TORCH = 4
"""In differences of torch's own operations: where these may round to 19 bits (TF32), products over all steps do, too."""

_trusted: dict[tuple[GateMaths, torch.device, int], bool] = {}


def choose(maths: GateMaths, device: torch.device, hidden: int) -> Runner:
    """The kernels for cells whose maths they have shown to compute, else torch's operations.

    Each hidden size is tried for itself, since it decides which kernel is compiled; the small problem compiles what the
    large one needs, so this costs next to nothing.
    """
    key = (maths, device, hidden)
    if key not in _trusted:
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return TorchRunner()  # a graph is being recorded, and numbers can't be looked at
        fault = find_fault(TritonRunner(), maths, device, hidden)
        if fault is not None:
            warn_once(
                "triton",
                f"on {device} cells run slower, by backpropagation written out in torch's operations: "
                f"Triton's kernels {fault}.",
            )
        _trusted[key] = fault is None
    return TritonRunner() if _trusted[key] else TorchRunner()


def find_fault(runner: Runner, maths: GateMaths, device: torch.device, hidden: int) -> str | None:
    """What is wrong with a runner's outputs or gradients, or None."""
    problem = _draw(maths, hidden)
    single, double = (
        [None if each is None else each.to(device, dtype) for each in problem]
        for dtype in (torch.float32, torch.float64)
    )
    try:
        exact = _solve(TorchRunner(), maths, double)
        difference = _compare(_solve(runner, maths, single), exact)
        limit = TOLERANCE
        if not difference <= limit:
            limit = max(limit, TOLERANCE_TORCH * _compare(_solve(TorchRunner(), maths, single), exact))
    except Exception as error:  # noqa: BLE001  # compilers, drivers and caches have errors of many kinds; none may stop a cell
        return f"failed there ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    # asked this way round because NaN is at most nothing
    return None if difference <= limit else f"are off by {difference:.1e} there"


def _draw(maths: GateMaths, hidden: int) -> list[Tensor | None]:
    """Inputs, weights and gradients, in the order of `_solve`."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int, scale: float = 1) -> Tensor:
        return (2 * torch.rand(shape, generator=generator) - 1) * scale

    rows, scale = maths.gates * hidden, hidden**-0.5 / 2
    seen = maths.looked + (0 if maths.late_input else maths.late)
    # half open and half shut: next to a rectifier's kink two right answers differ
    bias = 1.0 - 2 * (torch.arange(rows) % 2)
    return [
        draw(TIME, BATCH, FEATURES),
        draw(BATCH, hidden),
        draw(BATCH, hidden) if maths.carried else None,
        draw(rows, FEATURES, scale=1 / 8),
        draw(rows, hidden, scale=scale),
        bias,
        draw(seen * hidden, hidden, scale=scale) if seen else None,
        draw(maths.vectors, hidden, scale=1 / 4) + 0.5 if maths.vectors else None,  # gate maths may divide by them
        draw(TIME, BATCH, hidden),
        draw(BATCH, hidden if maths.carried else 0),
    ]


def _solve(runner: Runner, maths: GateMaths, problem: list[Any]) -> list[Tensor]:
    x, h, m, *weights, dy, dm = problem
    with torch.no_grad():
        y, last, kept = runner.forward(maths, x, h, m, Weights(*weights), keep=True)
        unkept = runner.forward(maths, x, h, m, Weights(*weights), keep=False)
        gradients = runner.backward(maths, x, Weights(*weights), kept, dy, dm, needs_x=True)
    found = (y, last, unkept.y, unkept.m, *gradients)
    return [each for each in found if each is not None and each.numel()]


def _compare(found: list[Tensor], exact: list[Tensor]) -> float:
    """Largest difference, relative to the largest entry of the tensor it is in; NaN if there is one."""
    differences = [
        (a.double() - b).abs().max() / b.abs().max().clamp_min(1e-30) for a, b in zip(found, exact, strict=True)
    ]
    return float(torch.stack(differences).max())
