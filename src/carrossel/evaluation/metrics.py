"""Forecast accuracy in price units, always beside persistence ('tomorrow = today') on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import (
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)

from carrossel.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("rmse", "mae", "mase", "skill", "directional_accuracy", "r2", "change_correlation")
"""Every metric of `score`, in the order tables show them."""


def score(truth: pd.Series, forecast: pd.Series, last_close: pd.Series, naive_error: float) -> dict[str, float]:
    """Metrics of one competitor on one part of the series.

    A metric that isn't defined for these rows is left out: persistence names no direction and its change doesn't vary.

    Args:
        truth: prices that came.
        forecast: prices forecast for the same rows.
        last_close: prices known at the origins: the persistence forecast.
        naive_error: mean absolute one-step change of the training part, price units, > 0: the scale of MASE.

    Returns:
        `rmse`, `mae`: price units.
        `mase`: MAE over the training part's one-step naive MAE (Hyndman & Koehler 2006); since the scale comes from
            other rows, a part livelier than the training part has a MASE above 1 even for a good forecast.
        `skill`: 1 − MSE / MSE of persistence on the same rows; 0 is 'tomorrow = today', 1 is perfect.
        `directional_accuracy`: share of rows whose direction was forecast. Rows where the price didn't move have no
            direction and are left out; a forecast of exactly no move counts as wrong.
        `r2`: of price levels; near 1 for anything that follows the price, persistence included.
        `change_correlation`: Pearson correlation of forecast change and true change from the last close.

    Raises:
        ModelError: if persistence makes no error, since skill is then undefined.

    References:
        Hyndman & Koehler (2006), Another look at measures of forecast accuracy, for MASE.
        Murphy (1988), Skill scores based on the mean square error, for skill.
    """
    squared = mean_squared_error(truth, forecast)
    persistence = mean_squared_error(truth, last_close)
    if persistence == 0:
        raise ModelError(
            f"the price doesn't move in any of {len(truth)} rows: 'tomorrow = today' makes no error, so skill is "
            "undefined. Check the bars of this part, or choose other shares in windows.train and windows.validation."
        )
    absolute = mean_absolute_error(truth, forecast)
    values = {
        "rmse": float(np.sqrt(squared)),
        "mae": float(absolute),
        "mase": float(absolute / naive_error),
        "skill": float(1 - squared / persistence),
    }
    if _varies(truth):
        values["r2"] = float(r2_score(truth, forecast))
    true_change = truth - last_close
    change = forecast - last_close
    if change.ne(0).any():
        moved = true_change.ne(0)
        values["directional_accuracy"] = float(np.mean(np.sign(change[moved]) == np.sign(true_change[moved])))
    if _varies(change) and _varies(true_change):
        values["change_correlation"] = float(change.corr(true_change))
    return values


def count_moves(truth: pd.Series, last_close: pd.Series) -> dict[str, float]:
    """Shares of rows where the price went `up`, `down` or stayed (`still`), to read directional accuracy against."""
    change = truth - last_close
    return {
        "up": float(change.gt(0).mean()),
        "down": float(change.lt(0).mean()),
        "still": float(change.eq(0).mean()),
    }


def _varies(series: pd.Series) -> bool:
    return bool(series.ne(series.iloc[0]).any())
