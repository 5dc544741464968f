"""Which unit follows what, and how much of that is there in a series without any memory too."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from carrossel.lab.units.quantities import QUANTITIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]


class Summary(NamedTuple):
    """One quantity's ranking in short.

    Attributes:
        quantity: its name.
        unit: the unit that follows it most closely, by |correlation|; of equal ones the first.
        correlation: that unit's.
        control: the largest |correlation| of any unit on the shuffled series.
        beyond: units whose |correlation| is larger than that.
    """

    quantity: str
    unit: int
    correlation: float
    control: float
    beyond: int


def rank_units(correlation: Values, control: Values) -> pd.DataFrame:
    """One row per quantity and unit, the closest follower first.

    Args:
        correlation: on the series as it is, shape [units, quantities], NaN where there is none.
        control: on the shuffled series.

    Returns:
        unit, quantity, correlation, control.
    """
    units = len(correlation)
    table = pd.DataFrame(
        {
            "unit": np.tile(np.arange(units), len(QUANTITIES)),
            "quantity": np.repeat(list(QUANTITIES), units),
            "correlation": correlation.T.reshape(-1),
            "control": control.T.reshape(-1),
        }
    )
    order = np.lexsort(
        (
            table["unit"],
            -np.nan_to_num(np.abs(table["correlation"]), nan=-1.0),
            np.repeat(np.arange(len(QUANTITIES)), units),
        )
    )
    return table.iloc[order].reset_index(drop=True)


def summarise_ranking(ranking: pd.DataFrame) -> list[Summary]:
    """What `rank_units` found, one line per quantity; NaN where nothing correlates."""
    found = []
    for quantity in QUANTITIES:
        own = ranking[ranking["quantity"] == quantity]
        size = own["control"].abs().to_numpy()
        largest = float(np.nanmax(size)) if np.isfinite(size).any() else 0.0
        beyond = int((own["correlation"].abs() > largest).sum())
        found.append(Summary(quantity, int(own["unit"].iloc[0]), float(own["correlation"].iloc[0]), largest, beyond))
    return found


def spread_ranking(ranking: pd.DataFrame, name: str) -> Values:
    """One column of `rank_units`, back in shape [units, quantities]."""
    columns = [list(QUANTITIES).index(quantity) for quantity in ranking["quantity"]]
    spread = np.empty((len(ranking) // len(QUANTITIES), len(QUANTITIES)))
    spread[ranking["unit"].to_numpy(), columns] = ranking[name]
    return spread


def sign(correlation: float) -> str:
    """A correlation as text, with its sign; a dash where there is none."""
    if not np.isfinite(correlation):
        return "–"
    rounded = round(correlation, 2) + 0.0  # no −0.00
    return f"{rounded:+.2f}".replace("-", "−")
