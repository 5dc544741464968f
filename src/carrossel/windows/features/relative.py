"""Bars beside the last week's: what a network can still read where the level of volatility or volume has wandered off.

The names end in `week`: all of them know the week up to their bar, itself included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.windows.features.periods import period_mean
from carrossel.windows.features.prices import log_return, log_volume
from carrossel.windows.features.registry import feature
from carrossel.windows.features.variance import log_variance, log_variance_day, log_variance_week

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carrossel.windows.features.registry import Bars


@feature
def log_variance_above_week(bars: Bars) -> NDArray[np.float64]:
    """Log variance less its mean over the last week."""
    return log_variance(bars) - log_variance_week(bars)


@feature
def log_variance_day_above_week(bars: Bars) -> NDArray[np.float64]:
    """Mean log variance over the last day less that over the last week."""
    return log_variance_day(bars) - log_variance_week(bars)


@feature
def return_in_deviations_week(bars: Bars) -> NDArray[np.float64]:
    """Log return in standard deviations of a usual bar of the last week: the root of the geometric mean of its variances."""
    return log_return(bars) / np.exp(log_variance_week(bars) / 2)


@feature
def log_volume_above_week(bars: Bars) -> NDArray[np.float64]:
    """Log volume less its mean over the last week."""
    volume = log_volume(bars)
    return volume - period_mean(bars, volume, "week")
