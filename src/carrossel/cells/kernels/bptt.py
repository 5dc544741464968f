"""Backpropagation through time written out in torch's operations: any dtype, any device.

Autograd records each operation of each step and computes each step's weight gradients apart; here the gradients of the
gates are gathered, and one product per weight follows over all steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import linear

from carrossel.cells.base import State
from carrossel.cells.kernels.operation import Forward, Gradients
from carrossel.cells.kernels.phases import Parts, Weights, begin, step_phases

if TYPE_CHECKING:
    from carrossel.cells.kernels.form import GateMaths


class TorchRunner:
    """Runs the phases of a step with torch."""

    def forward(
        self, maths: GateMaths, x: Tensor, h: Tensor | None, m: Tensor | None, weights: Weights, *, keep: bool
    ) -> Forward:
        """See `carrossel.cells.kernels.operation.Runner`; in the weights' precision, whatever autocast would have."""
        with torch.autocast(x.device.type, enabled=False):
            x, h, m = (None if each is None else each.to(weights.x.dtype) for each in (x, h, m))  # type: ignore[assignment]  # x is there
            return self._unroll(maths, x, *begin(maths, x, h, m, weights), weights, keep=keep)

    def _unroll(
        self, maths: GateMaths, x: Tensor, h: Tensor, m: Tensor | None, weights: Weights, *, keep: bool
    ) -> Forward:
        parts, hs, ms, kept_gates = Parts(maths, weights), [h], [m], []
        for projected in linear(x, weights.x, weights.bias).unbind(0):
            gates, h, m = step_phases(parts, projected, h, m)
            hs.append(h)
            if keep:
                kept_gates.append(torch.cat(gates, dim=1))
                ms.append(m)
        y = torch.stack(hs[1:])
        last = m if maths.carried and m is not None else y.new_empty(y.shape[1], 0)
        if not keep:
            return Forward(y, last, ())
        memories = [each if each is not None else y.new_zeros(0) for each in ms]
        if maths.memory and not maths.carried:
            memories[0] = torch.zeros_like(memories[1])
        return Forward(y, last, (torch.stack(hs), torch.stack(kept_gates), torch.stack(memories)))

    def backward(
        self,
        maths: GateMaths,
        x: Tensor,
        weights: Weights,
        kept: tuple[Tensor, ...],
        dy: Tensor,
        dm: Tensor | None,
        *,
        needs_x: bool,
    ) -> Gradients:
        """See `carrossel.cells.kernels.operation.Runner`."""
        x = x.to(weights.x.dtype)
        hs, gates, ms = kept
        parts, hidden = Parts(maths, weights), hs.shape[2]
        dgates = torch.empty_like(gates)
        dvectors = [torch.zeros_like(each) for each in parts.vectors]
        dh = torch.zeros_like(hs[0])
        carried: Tensor | None = None
        if maths.carried:
            carried = torch.zeros_like(hs[0]) if dm is None else dm
        for t in range(len(gates) - 1, -1, -1):
            dh = dh + dy[t]
            at, before, after = gates[t].split(hidden, dim=1), (hs[t], ms[t]), (hs[t + 1], ms[t + 1])
            if maths.finish_backward is not None:
                late, carried = maths.finish_backward(at, (hs[t], ms[t + 1]), (dh, carried))
                torch.cat(late, dim=1, out=dgates[t][:, parts.late_from :])
                carried = _add(carried, dgates[t][:, parts.late_from :] @ parts.late.t())
            early, (direct, carried), unit = maths.backward(at, before, after, (dh, carried), parts.vectors)
            torch.cat(early, dim=1, out=dgates[t][:, : len(early) * hidden])
            if maths.looked:
                carried = _add(carried, dgates[t][:, : parts.looked_rows] @ parts.looked.t())
            dh = _add(direct, dgates[t][:, : parts.direct] @ parts.h.t())
            for total, each in zip(dvectors, unit, strict=True):
                total.add_(each.sum(0))
        unit = torch.stack(dvectors) if dvectors else None
        return sum_gradients(parts, x, weights, hs, ms, dgates, State(dh, carried), unit, needs_x=needs_x)


def sum_gradients(
    parts: Parts,
    x: Tensor,
    weights: Weights,
    hs: Tensor,
    ms: Tensor,
    dgates: Tensor,
    dstate: State,
    dvectors: Tensor | None,
    *,
    needs_x: bool,
) -> Gradients:
    """All gradients, from those of the gates: one product per weight over all steps.

    Args:
        parts: of the cell.
        x: [time, batch, features].
        weights: of the cell.
        hs: h before the first step and after all, [time + 1, batch, hidden].
        ms: likewise m; anything for cells without one.
        dgates: derivatives by the gates before their functions, [time, batch, gates·hidden].
        dstate: derivatives by the state before the first step.
        dvectors: derivatives by the vectors, or None.
        needs_x: whether the gradient by x is wanted.
    """
    return Gradients(
        dgates @ weights.x if needs_x else None,
        dstate.h,
        dstate.c,
        _sum_products(dgates, x),
        _by_weight_h(parts, dgates, hs, ms),
        dgates.sum((0, 1)),
        _by_weight_m(parts, dgates, ms),
        dvectors,
    )


def _by_weight_h(parts: Parts, dgates: Tensor, hs: Tensor, ms: Tensor) -> Tensor:
    by_direct = _sum_products(dgates[..., : parts.direct], hs[:-1])
    if not parts.maths.late_input:
        return by_direct
    return torch.cat([by_direct, _sum_products(dgates[..., parts.late_from :], ms[1:])])


def _by_weight_m(parts: Parts, dgates: Tensor, ms: Tensor) -> Tensor | None:
    maths = parts.maths
    if maths.late_input or not (maths.looked or maths.late):
        return None
    by_looked = _sum_products(dgates[..., : parts.looked_rows], ms[:-1])
    return torch.cat([by_looked, _sum_products(dgates[..., parts.late_from :], ms[1:])])


def _add(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b


def _sum_products(a: Tensor, b: Tensor) -> Tensor:
    """Σ aᵀ b over time and batch; b on the left, since a product with few columns is 6–11 times slower on the CPU."""
    return (b.reshape(-1, b.shape[-1]).t() @ a.reshape(-1, a.shape[-1])).t()
