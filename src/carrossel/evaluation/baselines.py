"""Forecasts that need no model: what every competitor has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PERSISTENCE = "persistence"
"""Name of the baseline's row among the competitors."""


def forecast_persistence(forecasts: pd.DataFrame) -> pd.Series:
    """'Tomorrow = today': the last close known at the origin, on the very rows the competitors forecast.

    It is the best forecast of a random walk without drift.

    Args:
        forecasts: a competitor's rows with a column `last_close`, prices.
    """
    return forecasts["last_close"].rename("forecast")
