"""Features of a bar, by name. All are causal: the value at bar t uses bars up to t and none after.

Each takes canonical bars and returns one value per bar, NaN where the bars it needs are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.errors import ConfigError
from carrossel.windows.features import calendar, prices, relative, variance  # noqa: F401 - importing registers them
from carrossel.windows.features.periods import bars_in_periods
from carrossel.windows.features.registry import FEATURES, feature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carrossel.windows.features.registry import Bars

__all__ = ["FEATURES", "bars_before", "compute_features", "feature"]


def compute_features(bars: Bars, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Feature matrix, shape [time, features].

    Raises:
        ConfigError: if a feature has no value on the whole series, such as volume of a series without volume,
            or a month's mean of a week.
    """
    matrix = np.column_stack([FEATURES[name](bars) for name in names])
    for name, column in zip(names, matrix.T, strict=True):
        if not np.isfinite(column).any():
            raise ConfigError(
                f"windows.features: {name!r} has no value anywhere in this series (does it carry volume? is it long "
                "enough?). Remove it there."
            )
    return matrix


def bars_before(names: tuple[str, ...], timestamps: NDArray[np.datetime64]) -> int:
    """How many bars before a window its features look at: 1 for a change, as many as the period for one over a period.

    A feature over a period ends in the period's name, one relative to a period too: `log_variance_day_above_week` looks a week
    back. The longest period comes last.

    Args:
        timestamps: of the series, UTC, which says how many bars a period has.
    """
    periods: dict[str, int] = {str(name): bars for name, bars in bars_in_periods(timestamps).items()}
    return max(1, *(periods.get(name.rpartition("_")[2], 1) for name in names))
