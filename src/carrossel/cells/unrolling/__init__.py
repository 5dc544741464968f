"""Run a cell along a sequence. Knows no cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from carrossel.cells.unrolling.runners import choose_runner
from carrossel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from carrossel.cells.base import Cell, State

Backend = Literal["auto", "loop", "torch", "numba"]
"""What runs a cell: see `unroll`."""


def unroll(
    cell: Cell,
    x: Float[Tensor, "time batch input_size"],
    state: State | None = None,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "time batch hidden"], State]:
    """Hidden states of all steps, and the state after the last.

    Hidden states may lie in wider rows, with what the backward pass reads: not for changes in place, which torch refuses, and
    whoever keeps a few of them for long takes a `clone`.

    Args:
        cell: any kind.
        x: time first; at least one step.
        state: state before the first step; None for zeros.
        backend: `loop` runs the cell's own equations, one by one. `torch` runs the equivalent layer of torch.nn, or,
            where there is none, a parallel scan for cells with `coefficients`, or else the cell's gate maths with
            backpropagation through time written out: for float32 on CUDA by kernels that Triton compiles, if it is there
            and they pass a first small problem, else in torch's operations. `numba` runs the
            kernels of `carrossel.cells.kernels`, for float32 on the CPU, and what `torch` would run for anything else.
            `auto` is `numba` where that is possible. A cell without gate maths of its own, or with options that act
            inside a step, falls back to the loop. All have first and second derivatives; cuDNN has no second ones.

    Raises:
        ConfigError: if `backend` is `torch` or `numba` and the cell has no such form.
        ValueError: if x isn't [time, batch, input_size] with at least one step, or the state doesn't fit.
    """
    _check(cell, x)
    if backend != "loop":
        run = choose_runner(cell, x, state, backend)
        if run is not None:
            return run(x, state)
    if backend in ("torch", "numba"):
        raise ConfigError(
            f"backend={backend!r}: a {cell.kind} cell has no such form"
            f"{' with these options' if cell.needs_loop else ''}; use 'auto' or 'loop'."
        )
    states = unroll_states(cell, x, state)
    return torch.stack([each.h for each in states]), states[-1]


def unroll_states(cell: Cell, x: Float[Tensor, "time batch input_size"], state: State | None = None) -> list[State]:
    """The states after each step, by the loop: what gradient diagnostics differentiate by.

    Each state is a node of the graph, so the gradient that reaches it can be kept (`retain_grad`) or asked for
    (`torch.autograd.grad`); a fused layer only hands out copies, off the path between two steps.

    Raises:
        ValueError: as `unroll`.
    """
    _check(cell, x)
    state = cell.initial_state(x.shape[1]) if state is None else state
    states = []
    with cell.dropping(x.shape[1]):
        for projected in cell.project(x).unbind(0):
            state = cell.advance(projected, state)
            states.append(state)
    return states


def unroll_stack(cells: Sequence[Cell], x: Float[Tensor, "time batch input_size"]) -> list[list[State]]:
    """`unroll_states` of stacked cells from zero states, without dropout: one list per layer, lowest first."""
    layers = []
    for cell in cells:
        states = unroll_states(cell, x)
        layers.append(states)
        x = torch.stack([state.h for state in states])
    return layers


def _check(cell: Cell, x: Tensor) -> None:
    if x.ndim != 3 or x.shape[0] < 1 or x.shape[2] != cell.input_size:  # noqa: PLR2004  # time, batch, features
        raise ValueError(
            f"{cell.kind} cell got x of shape {list(x.shape)}; expected [time ≥ 1, batch, {cell.input_size}]."
        )
