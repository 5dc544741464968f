"""How much the price will move, whichever way: log variance over the horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from carrossel.targets.base import Target, Unit, ahead
from carrossel.targets.variance import bar_variance, floored

if TYPE_CHECKING:
    from carrossel.targets.base import Columns, Values


class Volatility(Target, kind="volatility"):
    """ln of the mean variance per bar of bars t+1 … t+h; the naive forecast is the same of the last h bars.

    Variances are clustered: a lively hour follows a lively hour. So here a model can have skill, where returns have next to none.

    References:
        Andersen, Bollerslev, Diebold & Labys (2003), Modeling and forecasting realized volatility: log realised variance.
        Corsi (2009), A simple approximate long-memory model of realized volatility.
    """

    unit: ClassVar[Unit] = "log_variance"

    def label(self, bars: Columns, horizon: int) -> Values:
        return ahead(_log_mean(self._variance(bars), horizon, least=horizon), horizon)

    def unchanged(self, bars: Columns, horizon: int) -> Values:
        return _log_mean(self._variance(bars), horizon, least=1)

    def _variance(self, bars: Columns) -> Values:
        return floored(bar_variance(bars, self.config.estimator))


def _log_mean(variance: Values, bars: int, least: int) -> Values:
    """Ln of the mean over the last `bars` bars, of which at least `least` must be there; shape [time]."""
    padded = np.concatenate([np.full(bars - 1, np.nan), variance])
    windows = sliding_window_view(padded, bars)
    there = np.isfinite(windows)
    enough = there.sum(axis=1) >= least
    total = np.where(there, windows, 0.0).sum(axis=1)
    return np.log(np.where(enough, total / np.maximum(there.sum(axis=1), 1), np.nan))
