"""h_t = a_t * h_{t−1} + b_t for all steps, where a and b are known beforehand.

References:
    Blelloch (1990), Prefix sums and their applications, section 1.4: a first-order recurrence is a scan.
    Martin & Cundy (2018), Parallelizing linear recurrent neural nets over sequence length, arXiv:1709.04057: so is its
    gradient, backwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from carrossel.cells.base import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Float

    from carrossel.cells.base import Cell

NARROW = 512
"""Numbers in a step below which doubling is faster on one thread, measured at 60 and 1,000 steps."""


def run_scan(
    cell: Cell, x: Float[Tensor, "time batch input_size"], state: State | None
) -> tuple[Float[Tensor, "time batch hidden"], State]:
    """Same contract as the loop of `carrossel.cells.unrolling.unroll`, for cells with `coefficients`.

    Raises:
        ValueError: if the state doesn't fit.
    """
    coefficients = cell.coefficients(cell.project(x))
    if coefficients is None:
        raise TypeError(f"a {cell.kind} cell has no coefficients.")
    a, b = coefficients
    state = cell.initial_state(x.shape[1]) if state is None else state
    if state.h.shape != b.shape[1:]:
        raise ValueError(f"state's h has shape {list(state.h.shape)}; expected {list(b.shape[1:])}.")
    h = scan(a, b, state.h)
    return h, State(h[-1])


def scan(
    a: Float[Tensor, "time batch hidden"], b: Float[Tensor, "time batch hidden"], first: Float[Tensor, "batch hidden"]
) -> Float[Tensor, "time batch hidden"]:
    """All h_t = a_t * h_{t−1} + b_t; differentiable as often as one likes.

    Args:
        a: at least one step.
        b: of a's shape.
        first: h before the first step.
    """
    h: Tensor = _Scan.apply(a, b, first)  # type: ignore[no-untyped-call]  # torch's own gap
    return h


class _Scan(torch.autograd.Function):
    """h_t = a_t h_{t−1} + b_t, from the first step to the last."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, first: Tensor) -> Tensor:
        h = _accumulate(a, b, first)
        ctx.save_for_backward(a, first, h)
        return h

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, first, h = ctx.saved_tensors
        g = _ScanBack.apply(a, dh)  # type: ignore[no-untyped-call]  # torch's own gap
        return _times_shifted(g, h, first), g, a[0] * g[0]


class _ScanBack(torch.autograd.Function):
    """Its transpose: g_t = d_t + a_{t+1} g_{t+1}, from the last step to the first."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, d: Tensor) -> Tensor:
        g = _accumulate_back(a, d)
        ctx.save_for_backward(a, g)
        return g

    @staticmethod
    def backward(ctx: Any, dg: Tensor) -> tuple[Tensor, Tensor]:
        a, g = ctx.saved_tensors
        nothing = torch.zeros_like(dg[0])
        u = scan(a, dg, nothing)
        return _times_shifted(g, u, nothing), u


def _times_shifted(g: Tensor, h: Tensor, first: Tensor) -> Tensor:
    """g_t h_{t−1}: the gradient by a_t."""
    if torch.is_grad_enabled():  # a second derivative will follow
        return g * torch.cat([first[None], h[:-1]])
    by_a = torch.empty_like(g)
    torch.mul(g[0], first, out=by_a[0])
    torch.mul(g[1:], h[:-1], out=by_a[1:])
    return by_a


def _accumulate(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    if not _one_by_one(b):
        return _double(a, torch.cat([(b[0] + a[0] * first)[None], b[1:]]))
    h = torch.empty(b.shape, dtype=b.dtype, device=b.device)
    _follow(a.unbind(), b.unbind(), h.unbind(), first)
    return h


def _accumulate_back(a: Tensor, d: Tensor) -> Tensor:
    if not _one_by_one(d):
        return _double(torch.cat([a[:1], a[1:].flip(0)]), d.flip(0)).flip(0)
    g = torch.empty(d.shape, dtype=d.dtype, device=d.device)
    g[-1] = d[-1]
    _follow(a[1:].unbind()[::-1], d[:-1].unbind()[::-1], g[:-1].unbind()[::-1], g[-1])
    return g


def _follow(a: Iterable[Tensor], b: Iterable[Tensor], h: Iterable[Tensor], last: Tensor) -> None:
    for a_t, b_t, h_t in zip(a, b, h, strict=True):
        last = torch.addcmul(b_t, a_t, last, out=h_t)


def _double(a: Tensor, h: Tensor) -> Tensor:
    """The same in ⌈log₂ time⌉ passes over all steps: after each, every step has summed up twice as many before it.

    Args:
        a: the first step's isn't used.
        h: b, whose first step is h already.
    """
    span = 1
    while span < len(h):
        h = torch.cat([h[:span], torch.addcmul(h[span:], a[span:], h[:-span])])
        if 2 * span < len(h):
            a = torch.cat([a[:span], a[span:] * a[:-span]])
        span *= 2
    return h


def _one_by_one(b: Tensor) -> bool:
    """Whether steps in turn are faster: on the CPU, but for steps so narrow that calls cost more than what they compute."""
    return b.device.type == "cpu" and b[0].numel() >= NARROW
