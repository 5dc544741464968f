"""Heterogeneous autoregression of log variance."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from carrossel.baselines.base import Baseline, or_naive, training_origins
from carrossel.windows.features.periods import bars_in_periods

if TYPE_CHECKING:
    from carrossel.targets.base import Unit, Values
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries


class Har(Baseline, kind="har"):
    """Least squares of the label on the mean log variance of the last bar, day, week and month.

    A bar's log variance is the target's naive label one bar ahead, so its estimator is the target's own. Spans that coincide,
    such as bar and day of daily bars, enter once. Missing bars leave the means.

    References:
        Corsi (2009), A simple approximate long-memory model of realized volatility, eq. 8, in logarithms.
    """

    units: ClassVar[frozenset[Unit]] = frozenset({"log_variance"})

    def fit(self, data: WindowedSeries) -> None:
        from sklearn.linear_model import LinearRegression

        self.spans = sorted({1, *bars_in_periods(data.timestamps[: data.split.train_rows]).values()})
        origins = training_origins(data)
        means = self.means(data, origins)
        complete = np.isfinite(means).all(axis=1)
        self.regression = LinearRegression().fit(means[complete], data.label[origins[complete]])

    def forecast(self, data: WindowedSeries, origins: Rows) -> Values:
        means = self.means(data, origins)
        complete = np.isfinite(means).all(axis=1)
        forecast = np.full((len(origins), len(data.horizons)), np.nan)
        if complete.any():
            forecast[complete] = self.regression.predict(means[complete])
        return or_naive(forecast, data, origins)

    def means(self, data: WindowedSeries, origins: Rows) -> Values:
        """Mean log variance over each span of bars up to each origin, shape [origins, spans]."""
        log_variance = data.target.unchanged(data.bars, 1)
        return np.stack([trailing_mean(log_variance, span)[origins] for span in self.spans], axis=1)


def trailing_mean(values: Values, length: int) -> Values:
    """Mean of the known ones among the last `length` values, at every row; NaN where none is known.

    Args:
        values: shape [time].
    """
    known = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - length, 0)
    number = count[end] - count[start]
    return np.where(number > 0, (total[end] - total[start]) / np.maximum(number, 1), np.nan)
