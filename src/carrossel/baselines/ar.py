"""Autoregression on log returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from carrossel.baselines.base import Baseline, BaselineConfig, log_returns, or_naive, training_origins

if TYPE_CHECKING:
    from carrossel.targets.base import Unit, Values
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries


class ArConfig(BaselineConfig):
    """Settings of the autoregression."""

    max_lag: int = Field(10, ge=1, le=200, description="Largest number of past returns; AIC chooses how many.")


class Ar(Baseline, kind="ar"):
    """Least squares of each horizon's change on the last p returns; p by Akaike's criterion, over the same rows for all p.

    The change is counted from the naive label, and relative to it where it isn't 0, so that a price level asks the same
    question as a log return. Forecasts are direct: one regression a horizon, none iterated.

    References:
        Akaike (1974), A new look at the statistical model identification. Marcellino, Stock & Watson (2006) on direct
        forecasts.
    """

    Config = ArConfig
    units: ClassVar[frozenset[Unit]] = frozenset({"price"})
    config: ArConfig

    def fit(self, data: WindowedSeries) -> None:
        origins = training_origins(data)
        lags = _lags(data, origins, self.config.max_lag)
        complete = np.isfinite(lags).all(axis=1)
        origins, lags = origins[complete], lags[complete]
        naive = data.unchanged[origins]
        changes = (data.label[origins] - naive) / _base(naive)
        self.coefficients = [_choose(change, lags) for change in changes.T]

    def forecast(self, data: WindowedSeries, origins: Rows) -> Values:
        lags = _lags(data, origins, self.config.max_lag)
        change = np.stack([c[0] + lags[:, : len(c) - 1] @ c[1:] for c in self.coefficients], axis=1)
        naive = data.unchanged[origins]
        return or_naive(naive + _base(naive) * change, data, origins)


def _base(naive: Values) -> Values:
    return np.where(naive == 0, 1.0, naive)


def _lags(data: WindowedSeries, origins: Rows, count: int) -> Values:
    """The last returns before each origin, the latest first, shape [origins, count]."""
    padded = np.concatenate([np.full(count - 1, np.nan), log_returns(data)])
    lags: Values = sliding_window_view(padded, count)[origins, ::-1]
    return lags


def _choose(change: Values, lags: Values) -> Values:
    """Intercept and coefficients of the regression with the lowest AIC."""
    from statsmodels.api import OLS, add_constant

    design = add_constant(lags, has_constant="add")
    fits = [OLS(change, design[:, : p + 1]).fit(method="qr") for p in range(lags.shape[1] + 1)]
    best: Values = min(fits, key=lambda fit: fit.aic).params
    return best
