"""Variance of each bar, estimated from the bar alone, in squared log returns per bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from carrossel.bars.resampling import REALISED_VARIANCE
from carrossel.errors import BarsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Values = NDArray[np.float64]

Estimator = Literal["auto", "realised", "garman_klass", "parkinson"]
LEAST = 1e-8
"""Variance of a bar with a standard deviation of 0.01 %, about the smallest step of a liquid market's price."""


def bar_variance(bars: Mapping[str, Values], estimator: Estimator = "auto") -> Values:
    """Variance of each bar's log price; NaN where the bar is missing.

    `realised` is the column that `prepare` leaves where it resampled finer bars (Andersen & Bollerslev 1998). `garman_klass`
    and `parkinson` take prices inside of the bar for a driftless Brownian motion seen without pause: they leave out the
    jump from the close before to the open (none in a market that never closes, a night on an exchange), and seen in few
    trades the range, and so the estimate, is too small. `auto` takes the column for all bars where there is one, even if some
    have no value in it, so that estimators never mix in a series; else Garman-Klass, and Parkinson at bars without open.

    Args:
        bars: columns, shape [time] each: high and low; open and close for Garman-Klass.
        estimator: which one.

    Returns:
        Shape [time], ≥ 0.

    Raises:
        BarsError: if `realised` is asked for and there is no such column.
    """
    if estimator == "realised" and REALISED_VARIANCE not in bars:
        raise BarsError(
            f"the bars have no column {REALISED_VARIANCE}: prepare adds it where datasets.*.resample aggregates finer bars."
        )
    if estimator == "realised" or (estimator == "auto" and REALISED_VARIANCE in bars):
        return np.array(bars[REALISED_VARIANCE], dtype=np.float64)
    if estimator == "garman_klass":
        return garman_klass(bars["open"], bars["high"], bars["low"], bars["close"])
    by_range = parkinson(bars["high"], bars["low"])
    if estimator == "parkinson" or "open" not in bars:
        return by_range
    full = garman_klass(bars["open"], bars["high"], bars["low"], bars["close"])
    return np.where(np.isfinite(full), full, by_range)


def parkinson(high: Values, low: Values) -> Values:
    """ln(high / low)² / (4 ln 2): Parkinson (1980), 'The extreme value method for estimating the variance'."""
    return np.asarray(np.log(high / low) ** 2 / (4 * np.log(2)))


def garman_klass(open: Values, high: Values, low: Values, close: Values) -> Values:  # noqa: A002 - the column's name
    """½ ln(high / low)² − (2 ln 2 − 1) ln(close / open)².

    Garman & Klass (1980), 'On the estimation of security price volatilities from historical data', their practical estimator
    σ̂₅; its own variance is about 7 times less than that of the squared return. Never below zero, since open and close lie within
    low … high.
    """
    return np.asarray(0.5 * np.log(high / low) ** 2 - (2 * np.log(2) - 1) * np.log(close / open) ** 2)


def floored(variance: Values) -> Values:
    """Raise each variance to `LEAST`, so that its logarithm exists; NaN stays.

    A fixed floor, not the smallest variance seen: that would depend on how much of the past is in sight, so a model would be served
    other features than it was trained on.

    Args:
        variance: shape [time], ≥ 0.
    """
    return np.where(np.isfinite(variance), np.maximum(variance, LEAST), np.nan)
