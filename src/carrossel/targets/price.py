"""The price level itself, as in the lecture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrossel.targets.base import Target, ahead

if TYPE_CHECKING:
    from carrossel.targets.base import Columns, Values


class Price(Target, kind="price"):
    """y_t = close_{t+h}. Not stationary: a network trained on it tends to repeat the last price it saw."""

    def label(self, bars: Columns, horizon: int) -> Values:
        return ahead(bars["close"], horizon)

    def unchanged(self, bars: Columns, horizon: int) -> Values:
        del horizon
        return bars["close"]
