"""Forecast accuracy in the target's unit, always beside persistence ('tomorrow = today') on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import (
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)

from carrossel.errors import ModelError
from carrossel.evaluation.scores import log_loss, pesaran_timmermann, qlike

if TYPE_CHECKING:
    import pandas as pd

    from carrossel.targets.base import Unit

PERSISTENCE = "persistence"
"""Name of the forecast that every other is measured against."""

METRICS = (
    "rmse",
    "mae",
    "mase",
    "skill",
    "directional_accuracy",
    "r2",
    "change_correlation",
    "qlike",
    "log_loss",
    "timing_p",
)
"""Every metric of `score`, in the order tables show them."""


def score(
    truth: pd.Series, forecast: pd.Series, unchanged: pd.Series, naive_error: float, unit: Unit = "price"
) -> dict[str, float]:
    """Metrics of one competitor on one part of the series.

    A metric that isn't defined for these rows is left out: persistence names no direction and its change doesn't vary.

    Args:
        truth: what came, in the unit.
        forecast: what was forecast for the same rows.
        unchanged: persistence's forecast of the same rows.
        naive_error: mean absolute error of persistence on the training part, > 0: the scale of MASE.
        unit: of all of them.

    Returns:
        `rmse`, `mae`: in the unit; for probabilities the RMSE is the root of the Brier score.
        `mase`: MAE over the training part's naive MAE (Hyndman & Koehler 2006); since the scale comes from other rows,
            a part livelier than the training part has a MASE above 1 even for a good forecast.
        `skill`: 1 − MSE / MSE of persistence on the same rows; 0 is 'tomorrow = today', 1 is perfect.
        `r2`: of levels; near 1 for anything that follows a price, persistence included.
        `change_correlation`: Pearson correlation of forecast change and true change from persistence's forecast.
        Prices and probabilities: `directional_accuracy`, the share of rows whose direction was forecast. Rows where the price
            didn't move have no direction and are left out; a forecast of exactly no move counts as wrong.
        Log variances: `qlike`, mean QLIKE loss (Patton 2011).
        Probabilities: `log_loss`, nats; `timing_p`, the one-sided p of Pesaran & Timmermann (1992).

    Raises:
        ModelError: if persistence makes no error, since skill is then undefined.

    References:
        Hyndman & Koehler (2006), Another look at measures of forecast accuracy, for MASE.
        Murphy (1988), Skill scores based on the mean square error, for skill.
    """
    squared = mean_squared_error(truth, forecast)
    persistence = mean_squared_error(truth, unchanged)
    if persistence == 0:
        raise ModelError(
            f"nothing moves in any of {len(truth)} rows: 'tomorrow = today' makes no error, so skill is "
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
    true_change = truth - unchanged
    change = forecast - unchanged
    if unit != "log_variance" and change.ne(0).any():
        moved = true_change.ne(0)
        values["directional_accuracy"] = float(np.mean(np.sign(change[moved]) == np.sign(true_change[moved])))
    if _varies(change) and _varies(true_change):
        values["change_correlation"] = float(change.corr(true_change))
    if unit == "log_variance":
        values["qlike"] = qlike(truth, forecast)
    if unit == "probability":
        values["log_loss"] = log_loss(truth, forecast)
        if timing := pesaran_timmermann(truth, (forecast > 0.5).astype(float)):  # noqa: PLR2004 - as likely as not
            values["timing_p"] = timing.p
    return values


def count_moves(truth: pd.Series, unchanged: pd.Series) -> dict[str, float]:
    """Shares of rows that came out above persistence's forecast (`up`), below (`down`) or on it (`still`)."""
    change = truth - unchanged
    return {
        "up": float(change.gt(0).mean()),
        "down": float(change.lt(0).mean()),
        "still": float(change.eq(0).mean()),
    }


def _varies(series: pd.Series) -> bool:
    return bool(series.ne(series.iloc[0]).any())
