"""What is read off a state and off a head's probabilities; for prices and for text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from carrossel.cells.base import Cell, State

    Values = NDArray[np.float64]

LIKELIEST = 5


def content(cell: Cell, state: State) -> Float[Tensor, "batch hidden"]:
    """C, or h for a cell without; of a cell that keeps several things in C, the first, which is its memory."""
    return state.h if state.c is None else state.c[:, : cell.hidden_size]


def likeliest(chances: Values, count: int = LIKELIEST) -> NDArray[np.int64]:
    """Numbers of the likeliest outcomes, likeliest first, of equal ones the lower number; shape [rows, count]."""
    order: NDArray[np.int64] = np.argsort(-chances, axis=-1, kind="stable")[:, :count]
    return order


def gained_bits(chances: Values, came: NDArray[np.int64]) -> float:
    """What the probabilities are worth: the mean of log2 p(what came), less that of equal shares.

    Args:
        chances: shape [windows, bins].
        came: the bin that came, shape [windows].
    """
    found = np.take_along_axis(chances, came[:, None], axis=1)
    return float(np.log2(np.maximum(found, np.finfo(np.float64).tiny)).mean() + np.log2(chances.shape[1]))
