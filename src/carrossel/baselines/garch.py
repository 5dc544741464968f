"""GARCH(1,1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from carrossel.baselines.base import Baseline, log_returns, or_naive, training_origins

if TYPE_CHECKING:
    from carrossel.targets.base import Unit, Values
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries


def _unwarned() -> np.errstate:
    """What isn't finite is answered by the naive forecast: numpy needn't warn of it."""
    return np.errstate(all="ignore")


class Garch(Baseline, kind="garch"):
    """Variance of returns that decays to its mean: σ²_{t+1} = ω + α ε²_t + β σ²_t.

    Parameters are fitted once, on the training part's returns, by quasi maximum likelihood; the variance is then filtered
    forward with them. A missing return counts as one of ordinary size. The label is the logarithm of a measured variance, whose
    mean lies below the logarithm of the mean: the training part's mean difference is added. Where the training part has no
    moves to fit to, or a forecast isn't finite, it says 'tomorrow = today'.

    References:
        Bollerslev (1986), Generalized autoregressive conditional heteroskedasticity.
    """

    units: ClassVar[frozenset[Unit]] = frozenset({"log_variance"})

    def fit(self, data: WindowedSeries) -> None:
        from arch.univariate import GARCH, ConstantMean

        returns = log_returns(data)[: data.split.train_rows]
        returns = returns[np.isfinite(returns)]
        # The likelihood's numerical gradient needs returns near 1, and arch can start from their mean square, which is then 1.
        self.scale = float(np.sqrt(np.sum(returns**2) / max(len(returns), 1)))
        self.volatility = GARCH(p=1, o=0, q=1)
        self.mean, self.parameters = 0.0, np.full(3, np.nan)
        self.offset = np.full(len(data.horizons), np.nan)
        if self.scale == 0:
            return
        model = ConstantMean(returns / self.scale, volatility=self.volatility, rescale=False)
        with _unwarned():
            found = model.fit(disp="off", show_warning=False, backcast=1.0)
            self.mean, *variance = (float(value) for value in found.params)
            self.parameters = np.array(variance)
            origins = training_origins(data)
            self.offset = np.mean(data.label[origins] - self.log_variance(data)[origins], axis=0)
        if found.convergence_flag != 0:
            print(
                f"garch: the fit didn't converge ({found.optimization_result.message}); it forecasts from where it stopped.",
                flush=True,
            )

    def forecast(self, data: WindowedSeries, origins: Rows) -> Values:
        with _unwarned():
            forecast = self.log_variance(data)[origins] + self.offset
        return or_naive(forecast, data, origins)

    def filter(self, data: WindowedSeries) -> tuple[Values, Values]:
        """Residual ε_t and variance σ²_t given the bars before t, both of returns over `scale`, shape [time]."""
        residual = log_returns(data) / self.scale - self.mean
        residual = np.where(np.isfinite(residual), residual, 1.0)
        # arch bounds the variance by the largest return of the whole series, later bars included: open its bounds.
        open_bounds = np.tile([np.finfo(float).tiny, np.finfo(float).max], (len(residual), 1))
        variance = self.volatility.compute_variance(
            self.parameters, residual, np.zeros_like(residual), 1.0, open_bounds
        )
        return residual, np.asarray(variance)

    def log_variance(self, data: WindowedSeries) -> Values:
        """Ln of the mean of E σ²_{t+1} … E σ²_{t+h}, in closed form, shape [time, horizons].

        E σ²_{t+k} = φ^{k−1} σ²_{t+1} + ω (1 + φ + … + φ^{k−2}) with φ = α + β, which needs no φ < 1.
        """
        omega, alpha, beta = self.parameters
        residual, variance = self.filter(data)
        following = omega + alpha * residual**2 + beta * variance
        columns = []
        for horizon in data.horizons:
            powers = (alpha + beta) ** np.arange(horizon)
            columns.append(np.log(powers.mean() * following + omega * np.mean(np.cumsum(powers) - powers)))
        return np.stack(columns, axis=1)
