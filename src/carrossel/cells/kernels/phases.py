"""A step's phases on tensors of any dtype and device, written so that torch can differentiate them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

if TYPE_CHECKING:
    from carrossel.cells.kernels.form import GateMaths


class Weights(NamedTuple):
    """A form's tensors."""

    x: Tensor
    h: Tensor
    bias: Tensor | None
    m: Tensor | None
    vectors: Tensor | None


class Parts:
    """A form's weights cut into what each product of a step needs, transposed."""

    def __init__(self, maths: GateMaths, weights: Weights) -> None:
        hidden = weights.h.shape[1]
        self.maths = maths
        self.direct, self.looked_rows = maths.direct * hidden, maths.looked * hidden
        self.late_from = (maths.gates - maths.late) * hidden
        self.h = weights.h[: self.direct].t()
        self.looked = self.late = weights.h[:0]
        if weights.m is not None:
            self.looked, self.late = weights.m[: self.looked_rows].t(), weights.m[self.looked_rows :].t()
        if maths.late_input:
            self.late = weights.h[self.late_from :].t()
        self.vectors: tuple[Tensor, ...] = () if weights.vectors is None else weights.vectors.unbind()


def step_phases(
    parts: Parts, projected: Tensor, h: Tensor, m: Tensor | None
) -> tuple[tuple[Tensor, ...], Tensor, Tensor | None]:
    """One step: gates, h and m.

    Args:
        parts: of the cell.
        projected: W_x x_t + b, [batch, gates·hidden].
        h: before the step.
        m: before the step, or None.
    """
    maths, hidden = parts.maths, h.shape[1]
    rows = torch.addmm(projected[:, : parts.direct], h, parts.h)
    if maths.looked and m is not None:
        looking = torch.addmm(rows[:, : parts.looked_rows], m, parts.looked)
        rows = torch.cat([looking, rows[:, parts.looked_rows :]], dim=1)
    rest: Any = () if not maths.late_input else projected[:, parts.direct :].split(hidden, dim=1)
    gates, (h_next, m_next) = maths.forward((*rows.split(hidden, dim=1), *rest), (h, m), parts.vectors)
    if maths.finish is None:
        return gates, h_next, m_next
    if maths.late:
        late = torch.addmm(torch.cat(gates[-maths.late :], dim=1), m_next, parts.late).split(hidden, dim=1)
        gates = (*gates[: -maths.late], *late)
    late, h_next = maths.finish(gates, (h, m_next))
    return (*gates[: maths.gates - maths.late], *late), h_next, m_next


def begin(
    maths: GateMaths, x: Tensor, h: Tensor | None, m: Tensor | None, weights: Weights
) -> tuple[Tensor, Tensor | None]:
    """H and m before the first step: zeros where they aren't given, but for an m that no step hands to the next."""
    shape = x.shape[1], weights.h.shape[1]
    return (
        weights.h.new_zeros(shape) if h is None else h,
        weights.h.new_zeros(shape) if m is None and maths.carried else m,
    )


def unroll_phases(
    maths: GateMaths, x: Tensor, h: Tensor | None, m: Tensor | None, weights: Weights
) -> tuple[Tensor, Tensor | None]:
    """H of all steps, and the memory after the last, or None."""
    parts, outputs = Parts(maths, weights), []
    h, m = begin(maths, x, h, m, weights)
    for projected in linear(x, weights.x, weights.bias).unbind(0):
        _, h, m = step_phases(parts, projected, h, m)
        outputs.append(h)
    return torch.stack(outputs), m if maths.carried else None
