"""What diagnostics ask of a cell, and the steps of a whole sequence side by side.

This room knows no cell. Given the states that a sequence went through, a step depends on the one before it through its
state alone, so questions about single steps are asked of all of them at once, as if they were one large batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float


class CellState(Protocol):
    """What a cell carries from step to step; a named tuple, so that another of its kind can be made from it."""

    @property
    def h(self) -> Float[Tensor, "batch hidden"]: ...

    @property
    def c(self) -> Float[Tensor, "batch memory"] | None: ...

    def _replace(self, *, h: Tensor = ..., c: Tensor | None = ...) -> Self: ...


S = TypeVar("S", bound=CellState)


class CellLike(Protocol[S]):
    """What diagnostics ask of a cell; `carrossel.cells.base.Cell` says what each method means."""

    def initial_state(self, batch: int) -> S: ...

    def project(self, x: Tensor) -> Tensor: ...

    def advance(self, projected: Tensor, state: S) -> S: ...

    def gate_values(self, projected: Tensor, state: S) -> dict[str, Tensor]: ...

    def kept(self, gates: Mapping[str, Tensor]) -> Tensor | None: ...


class Steps(NamedTuple, Generic[S]):
    """All steps of a sequence as one batch of time · batch rows, the first step's sequences first.

    Attributes:
        projected: W_x x_t + b of each step, [time·batch, rows].
        before: the state before each step, [time·batch, hidden].
    """

    projected: Float[Tensor, "rows gates"]
    before: S


def line_up(cell: CellLike[S], x: Float[Tensor, "time batch input_size"], states: Sequence[S]) -> Steps[S]:
    """The steps that led from a zero state through `states`.

    Args:
        cell: the layer.
        x: its inputs.
        states: its states after each step, from any path that runs it.

    Raises:
        ValueError: if there isn't one state per step.
    """
    if len(states) != len(x) or not len(x):
        raise ValueError(f"x has {len(x)} steps and there are {len(states)} states; give the state after each step.")
    before = [cell.initial_state(x.shape[1]), *states[:-1]]
    memories = [state.c for state in before if state.c is not None]
    h = torch.cat([state.h for state in before]).detach()
    c = torch.cat(memories).detach() if memories else None
    return Steps(cell.project(x).flatten(0, 1).detach(), before[0]._replace(h=h, c=c))


def flatten(state: CellState) -> Float[Tensor, "batch size"]:
    """The state as one vector s = [h, C], or h for a cell without C."""
    return state.h if state.c is None else torch.cat([state.h, state.c], dim=-1)


def unflatten(s: Float[Tensor, "batch size"], like: S) -> S:
    """The state that `flatten` gives s of, of the kind of `like`."""
    if like.c is None:
        return like._replace(h=s)
    hidden = like.h.shape[-1]  # of a cell that keeps several things, C is longer than h
    return like._replace(h=s[..., :hidden], c=s[..., hidden:])
