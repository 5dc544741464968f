"""Tomorrow = the same bar of the last season."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from carrossel.baselines.base import Baseline, BaselineConfig, or_naive
from carrossel.windows.features.periods import bars_in_periods

if TYPE_CHECKING:
    from carrossel.targets.base import Unit, Values
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries


class SeasonalNaiveConfig(BaselineConfig):
    """Settings of the seasonal naive forecast."""

    season: int | None = Field(
        None, ge=1, description="Bars in a season; null: those of a day, or of a week where a bar is a day."
    )


class SeasonalNaive(Baseline, kind="seasonal_naive"):
    """The label of the window that ended m·⌈h/m⌉ bars earlier: the latest in the same phase that is known by now.

    Not for a direction: yesterday's 0 or 1 is no probability.

    References:
        Hyndman & Athanasopoulos (2021), Forecasting: principles and practice, section 5.2.
    """

    Config = SeasonalNaiveConfig
    units: ClassVar[frozenset[Unit]] = frozenset({"price", "log_variance"})
    config: SeasonalNaiveConfig

    def fit(self, data: WindowedSeries) -> None:
        bars = bars_in_periods(data.timestamps[: data.split.train_rows])
        self.season = self.config.season or (bars["day"] if bars["day"] > 1 else bars["week"])

    def forecast(self, data: WindowedSeries, origins: Rows) -> Values:
        forecast = np.full((len(origins), len(data.horizons)), np.nan)
        for column, horizon in enumerate(data.horizons):
            earlier = origins - self.season * -(-horizon // self.season)
            known = earlier >= 0
            forecast[known, column] = data.label[earlier[known], column]
        return or_naive(forecast, data, origins)
