"""How much prices move: logarithms of variances, whose distribution is close to normal (Andersen et al. 2001).

Means over a day, a week and a month are what HAR, the heterogeneous autoregression, regresses on (Corsi 2009).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.bars.resampling import REALISED_VARIANCE
from carrossel.targets.variance import bar_variance, floored
from carrossel.windows.columns import BarColumns
from carrossel.windows.features.periods import period_mean
from carrossel.windows.features.registry import column, feature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carrossel.targets.variance import Estimator
    from carrossel.windows.features.registry import Bars


@feature
def log_variance(bars: Bars) -> NDArray[np.float64]:
    """Logarithm of the bar's variance: `realised_variance` where the bars carry it, else Garman-Klass."""
    return bars.keep(_log_variance) if isinstance(bars, BarColumns) else _log_variance(bars)


@feature
def parkinson(bars: Bars) -> NDArray[np.float64]:
    """Logarithm of the bar's variance by its range alone."""
    return np.log(_variance(bars, "parkinson"))


@feature
def realised_volatility_day(bars: Bars) -> NDArray[np.float64]:
    """Logarithm of the mean variance of the last day's bars."""
    return np.log(period_mean(bars, _variance(bars), "day"))


@feature
def realised_volatility_week(bars: Bars) -> NDArray[np.float64]:
    """Logarithm of the mean variance of the last week's bars."""
    return np.log(period_mean(bars, _variance(bars), "week"))


@feature
def realised_volatility_month(bars: Bars) -> NDArray[np.float64]:
    """Logarithm of the mean variance of the last month's bars."""
    return np.log(period_mean(bars, _variance(bars), "month"))


@feature
def log_variance_day(bars: Bars) -> NDArray[np.float64]:
    """Mean of the last day's log variances: one wild bar weighs less than in the logarithm of a mean."""
    return period_mean(bars, log_variance(bars), "day")


@feature
def log_variance_week(bars: Bars) -> NDArray[np.float64]:
    """Mean of the last week's log variances."""
    return period_mean(bars, log_variance(bars), "week")


@feature
def log_variance_month(bars: Bars) -> NDArray[np.float64]:
    """Mean of the last month's log variances."""
    return period_mean(bars, log_variance(bars), "month")


def _log_variance(bars: Bars) -> NDArray[np.float64]:
    return np.log(_variance(bars))


def _variance(bars: Bars, estimator: Estimator = "auto") -> NDArray[np.float64]:
    names = ("open", "high", "low", "close", REALISED_VARIANCE)
    return floored(bar_variance({name: column(bars, name) for name in names if name in bars}, estimator))
