"""One pass of the engine over tensors: buffers, packed weights, plan."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

import torch

from carrossel.cells.kernels import engine
from carrossel.cells.kernels.layout import Layout
from carrossel.cells.kernels.operation import Forward, Gradients
from carrossel.cells.kernels.threads import run_blocks
from carrossel.cells.kernels.workspace import borrow, take

if TYPE_CHECKING:
    from torch import Tensor

    from carrossel.cells.kernels.form import GateMaths
    from carrossel.cells.kernels.layout import Plan
    from carrossel.cells.kernels.phases import Weights


class KernelRunner:
    """Runs the engine; float32 on the CPU."""

    def forward(
        self, maths: GateMaths, x: Tensor, h: Tensor | None, m: Tensor | None, weights: Weights, *, keep: bool
    ) -> Forward:
        """See `carrossel.cells.kernels.operation.Runner`; without `keep`, only the states grow with time."""
        threads = torch.get_num_threads()
        layout, template = _prepare_forward(maths, *x.shape, weights.h.shape[1], threads, kept=keep)
        x, x_row = _rows(x)
        states, activations = take(layout.states), take(layout.activations)
        m_last = x.new_empty(layout.batch, layout.hidden if maths.carried else 0)
        with borrow(layout.packed) as packed:
            plan = template.copy()
            plan.set(
                **layout.place(states.data_ptr(), activations.data_ptr(), packed),
                x=x.data_ptr(),
                x_row=x_row,
                m_last=m_last.data_ptr(),
                h_first=_address(h),
                m_first=_address(m),
            )
            engine.pack_forward()(plan.address, *[_address(each) for each in weights])
            run_blocks(partial(engine.run_forward(), plan.address), layout.blocks, layout.used_threads)
        step, row = layout.batch * layout.state_width, layout.state_width
        y = states.as_strided((layout.time, layout.batch, layout.hidden), (step, row, 1), step)
        return Forward(
            y, m_last, (states, activations, torch.empty(threads, 0)) if keep else ()
        )  # a number, as a shape

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
        states, activations, threads = kept[0], kept[1], kept[2].shape[0]
        layout, template = _prepare_backward(maths, *x.shape, weights.h.shape[1], threads, needs_x=needs_x)
        gradients = Gradients(
            x.new_empty(x.shape) if needs_x else None,
            x.new_empty(layout.batch, layout.hidden),
            x.new_empty(layout.batch, layout.hidden) if maths.carried else None,
            torch.empty_like(weights.x),
            torch.empty_like(weights.h),
            weights.h.new_empty(weights.h.shape[0]),
            None if weights.m is None else torch.empty_like(weights.m),
            None if weights.vectors is None else torch.empty_like(weights.vectors),
        )
        by_x, by_h, by_m, *by_weights = [_address(each) for each in gradients]
        sums = layout.used_threads * sum(layout.weight_sums)
        with borrow(layout.packed + sums + layout.used_threads * layout.scratch) as packed:
            workspace = packed + 4 * layout.packed
            plan = template.copy()
            plan.set(
                **layout.place(states.data_ptr(), activations.data_ptr(), packed),
                dy=dy.data_ptr(),
                dm_last=_address(dm),
                dx=by_x,
                dh_first=by_h,
                dm_first=by_m,
                sums=workspace,
                scratch=workspace + 4 * sums,
            )
            of_weights = (weights.x, weights.h, weights.m, weights.vectors)
            engine.pack_backward()(plan.address, *[_address(each) for each in of_weights])
            run_blocks(partial(engine.run_backward(), plan.address), layout.blocks, layout.used_threads)
            engine.unpack_gradients()(plan.address, *by_weights)
        return gradients


@lru_cache(maxsize=256)
def _prepare_forward(
    maths: GateMaths, time: int, batch: int, features: int, hidden: int, threads: int, *, kept: bool
) -> tuple[Layout, Plan]:
    """Layout, and a plan to copy: sizes and compiled functions."""
    layout = Layout(maths, time, batch, features, hidden, threads, kept=kept)
    plan = layout.plan()
    run, finish = engine.forward_phases(maths)
    plan.set(**engine.shared_functions(), forward=run, finish=finish)
    return layout, plan


@lru_cache(maxsize=256)
def _prepare_backward(
    maths: GateMaths, time: int, batch: int, features: int, hidden: int, threads: int, *, needs_x: bool
) -> tuple[Layout, Plan]:
    """Likewise."""
    layout = Layout(maths, time, batch, features, hidden, threads, kept=True, backward=True, needs_x=needs_x)
    plan = layout.plan()
    run, finish = engine.backward_phases(maths)
    plan.set(**engine.shared_functions(), backward=run, finish_backward=finish)
    return layout, plan


def _rows(x: Tensor) -> tuple[Tensor, int]:
    """X with its rows, of all steps one after another, so many numbers apart; a view of wider rows stays one."""
    apart = x.stride(1)
    if x.stride(2) != 1 or apart < x.shape[2] or x.stride(0) != x.shape[1] * apart:
        return x.contiguous(), x.shape[2]
    return x, apart


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
