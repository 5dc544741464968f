"""Tomorrow = today."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrossel.baselines.base import Baseline

if TYPE_CHECKING:
    from carrossel.targets.base import Values
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries


class Persistence(Baseline, kind="persistence"):
    """The naive label: for a price the last close, for a variance that of the last bars, for a direction one half.

    The best forecast of a random walk without drift, so what every other one is measured by.
    """

    def fit(self, data: WindowedSeries) -> None:
        """Nothing to learn."""

    def forecast(self, data: WindowedSeries, origins: Rows) -> Values:
        return data.unchanged[origins]
