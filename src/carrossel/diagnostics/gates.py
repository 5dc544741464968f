"""D6 and D8: how far the gates are open, and how much of the memory passes through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor

from carrossel.diagnostics.trajectory import CellState, line_up

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from jaxtyping import Float
    from numpy.typing import NDArray

    from carrossel.diagnostics.trajectory import CellLike

S = TypeVar("S", bound=CellState)
SHUT, OPEN = 0.1, 0.9  # below and above, a gate counts as saturated, as in Karpathy et al. (2015)


class Saturation(NamedTuple):
    """D6 of one gate.

    Attributes:
        shut: for each unit the fraction of (step, sequence) with the gate below 0.1.
        open: the same above 0.9.
    """

    shut: NDArray[np.float64]
    open: NDArray[np.float64]


@torch.no_grad()
def gate_values(
    cell: CellLike[S], x: Float[Tensor, "time batch input_size"], states: Sequence[S]
) -> dict[str, Float[Tensor, "time batch hidden"]]:
    """Every gate at every step, 0 (shut) … 1 (open), by its name.

    Args:
        cell: one layer.
        x: the layer's inputs.
        states: its states after each step, from a zero state.

    Returns:
        Empty for a cell without gates.

    Raises:
        ValueError: if there isn't one state per step.
    """
    values = cell.gate_values(*line_up(cell, x, states))
    return {name: value.unflatten(0, (len(x), x.shape[1])) for name, value in values.items()}


def saturation(gates: Mapping[str, Float[Tensor, "time batch hidden"]]) -> dict[str, Saturation]:
    """D6: for each unit of each gate, how often it is as good as shut and as good as open.

    Args:
        gates: from `gate_values`.

    References:
        Karpathy, Johnson & Fei-Fei (2015), Visualizing and understanding recurrent networks, arXiv:1506.02078.
    """
    return {
        name: Saturation(*(_fraction(side) for side in (values < SHUT, values > OPEN)))
        for name, values in gates.items()
    }


def kept_by_lag(kept: Float[Tensor, "time batch hidden"]) -> NDArray[np.float64]:
    """D8: the mean of f_T * f_{T−1} * … * f_{T−k+1} over sequences and units, for lag k = 0 … time.

    It is the gradient ∂C_T/∂C_{T−k} along the memory alone, the constant error carousel, without the detours through h.
    The units are averaged, so the few that keep their memory longest decide the far end.

    Args:
        kept: f_t, from the cell's `kept` of its `gate_values`.

    Returns:
        1 at lag 0.
    """
    products = kept.detach().to("cpu", torch.float64).flip(0).cumprod(dim=0).mean(dim=(1, 2))
    return torch.cat([torch.ones(1, dtype=torch.float64), products]).numpy()


def _fraction(hits: Tensor) -> NDArray[np.float64]:
    fractions: NDArray[np.float64] = hits.to("cpu", torch.float64).mean(dim=(0, 1)).numpy()
    return fractions
