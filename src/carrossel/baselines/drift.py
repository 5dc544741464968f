"""Tomorrow = today + the mean change so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrossel.baselines.base import Baseline, training_origins

if TYPE_CHECKING:
    from carrossel.targets.base import Values
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries


class Drift(Baseline, kind="drift"):
    """The naive label plus its mean error on the training part.

    For `log_return` and `direction`, whose naive label is a constant, that is the mean training label: the best forecast of a
    random walk with drift, and the share of rises.
    """

    def fit(self, data: WindowedSeries) -> None:
        origins = training_origins(data)
        self.step = (data.label[origins] - data.unchanged[origins]).mean(axis=0)

    def forecast(self, data: WindowedSeries, origins: Rows) -> Values:
        forecast: Values = data.unchanged[origins] + self.step
        return forecast
