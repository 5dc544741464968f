"""Intervals around live forecasts: adaptive conformal from the errors made so far, the model's own quantiles where it has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from carrossel.evaluation.calibration import conformal_intervals

if TYPE_CHECKING:
    from carrossel.online.predictions import Prediction

LEVEL = 0.9
REMEMBERED = 500
FEWEST = 50
"""Scored forecasts of a model from which on its live errors say how wide an interval is; before, those of its validation part."""

Interval = tuple[float | None, float | None]


def find_interval(prediction: Prediction, past: pd.DataFrame, told: Any, place: int) -> Interval:
    """Lower and upper end of the interval that should hold 90 % of the truths; None where nothing says how wide it is.

    Args:
        prediction: without an interval.
        past: the model's scored forecasts of this horizon, oldest first: origin, time, truth, forecast.
        told: `interval` of the model's manifest; None where it has none.
        place: of the horizon among the model's.
    """
    past = past[past["origin"] < prediction.origin].tail(REMEMBERED)
    if len(past) >= FEWEST:
        # The last row's truth isn't known and isn't used: an error counts from its bar's time on.
        last = [prediction.origin, prediction.time, prediction.forecast, prediction.forecast]
        rows = pd.concat([past, pd.DataFrame([last], columns=past.columns)], ignore_index=True)
        ends = conformal_intervals(rows, level=LEVEL, window=REMEMBERED).iloc[-1]
        if ends.notna().all():
            return float(ends["lower"]), float(ends["upper"])
    if told is None:
        return None, None
    half = told["half_width"][place] * (prediction.last_close if told["relative"] else 1.0)
    return prediction.forecast - half, prediction.forecast + half
