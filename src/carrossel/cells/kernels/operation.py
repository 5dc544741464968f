"""Unrolling as one operation that autograd knows, whatever computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from carrossel.cells.base import State
from carrossel.cells.kernels.phases import Weights, unroll_phases

if TYPE_CHECKING:
    from jaxtyping import Float

    from carrossel.cells.kernels.form import FastForm, GateMaths


class Forward(NamedTuple):
    """What a forward pass gives.

    Attributes:
        y: h of all steps, [time, batch, hidden]; may be a view of what is kept.
        m: memory after the last step, [batch, hidden]; [batch, 0] for cells that carry none.
        kept: what the backward pass needs.
    """

    y: Tensor
    m: Tensor
    kept: tuple[Tensor, ...]


class Gradients(NamedTuple):
    """What a backward pass gives; None for what a cell hasn't or nobody wants."""

    x: Tensor | None
    h: Tensor
    m: Tensor | None
    weight_x: Tensor
    weight_h: Tensor
    bias: Tensor
    weight_m: Tensor | None
    vectors: Tensor | None


class Runner(Protocol):
    """What can compute an unrolling; all tensors but x are contiguous."""

    def forward(
        self, maths: GateMaths, x: Tensor, h: Tensor | None, m: Tensor | None, weights: Weights, *, keep: bool
    ) -> Forward:
        """All steps of all sequences, from zeros where h and m are None; `keep` what a backward pass needs."""
        ...

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
        """Gradients of the scalar whose gradients by y and m are given, the latter None for zeros."""
        ...


def run(
    runner: Runner, form: FastForm, x: Float[Tensor, "time batch input_size"], state: State | None
) -> tuple[Float[Tensor, "time batch hidden"], State]:
    """Same contract as the loop of `carrossel.cells.unrolling.unroll`.

    Raises:
        ValueError: if a tensor hasn't the shape that goes with x and the form: kernels read memory as told.
    """
    h = None if state is None else state.h
    c = state.memory if state is not None and form.maths.carried else None
    _check(form, x, state, c)
    inputs = (x, h, c, form.weight_x, form.weight_h, form.bias, form.weight_m, form.vectors)
    if torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in inputs):
        y, m = _Unrolling.apply(runner, form.maths, *inputs)  # type: ignore[no-untyped-call]  # torch's own gap
    else:
        x, h, c, *weights = _dense(inputs)
        y, m, _ = runner.forward(form.maths, x, h, c, Weights(*weights), keep=False)
    return y, State(y[-1], m if form.maths.carried else None)


def _check(form: FastForm, x: Tensor, state: State | None, c: Tensor | None) -> None:
    maths, (_, batch, features), hidden = form.maths, x.shape, form.weight_h.shape[1]
    rows, seen = maths.gates * hidden, maths.looked + (0 if maths.late_input else maths.late)
    for name, tensor, shape in (
        ("state's h", None if state is None else state.h, None if state is None else (batch, hidden)),
        ("state's memory", c, None if state is None or not maths.carried else (batch, hidden)),
        ("weight_x", form.weight_x, (rows, features)),
        ("weight_h", form.weight_h, (rows, hidden)),
        ("bias", form.bias, None if form.bias is None else (rows,)),
        ("weight_m", form.weight_m, (seen * hidden, hidden) if seen else None),
        ("vectors", form.vectors, (maths.vectors, hidden) if maths.vectors else None),
    ):
        found = None if tensor is None else tensor.shape
        if found != shape:
            told = None if found is None else tuple(found)
            raise ValueError(f"{name} has shape {told}; expected {shape} for x of shape {tuple(x.shape)}.")


def _dense(inputs: Any) -> Any:
    return [inputs[0], *[None if each is None else each.contiguous() for each in inputs[1:]]]


class _Unrolling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, runner: Runner, maths: GateMaths, *inputs: Tensor | None) -> tuple[Tensor, Tensor]:
        x, h, m, *weights = _dense(inputs)
        y, last, kept = runner.forward(maths, x, h, m, Weights(*weights), keep=True)
        ctx.runner, ctx.maths, ctx.inputs = runner, maths, len(inputs)
        ctx.save_for_backward(*inputs, *kept)
        ctx.set_materialize_grads(False)  # zeros for a memory that nobody used would wake torch's threads
        return y, last

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dm: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs, kept = ctx.saved_tensors[: ctx.inputs], ctx.saved_tensors[ctx.inputs :]
        if torch.is_grad_enabled():  # asked for with create_graph: a second derivative will follow
            return None, None, *_differentiate(ctx.maths, inputs, dy, dm)
        x, _, _, *weights = _dense(inputs)
        dy = x.new_zeros(*x.shape[:2], weights[1].shape[1]) if dy is None else dy.contiguous()
        dm = None if dm is None else dm.contiguous()
        gradients = ctx.runner.backward(ctx.maths, x, Weights(*weights), kept, dy, dm, needs_x=ctx.needs_input_grad[2])
        return None, None, *(None if given is None else each for each, given in zip(gradients, inputs, strict=True))


def _differentiate(
    maths: GateMaths, inputs: tuple[Tensor | None, ...], dy: Tensor | None, dm: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The same gradients by torch's own differentiation, so that they can be differentiated again."""
    # an alias each: where one input was computed from another, its gradient must not pass on to that one here
    aliases = [None if each is None else each.view_as(each) for each in inputs]
    x, h, m, *weights = aliases
    outputs = unroll_phases(maths, x, h, m, Weights(*weights))  # type: ignore[arg-type]  # x is never None
    wanted = [each for each in aliases if each is not None and each.requires_grad]
    by_output = [
        (each, by)
        for each, by in zip(outputs, (dy, dm), strict=True)
        if each is not None and by is not None and each.requires_grad
    ]
    found = iter(
        torch.autograd.grad(
            [each for each, _ in by_output],
            wanted,
            [by for _, by in by_output],
            create_graph=True,
            allow_unused=True,
        )
    )
    return tuple(next(found) if each is not None and each.requires_grad else None for each in aliases)
