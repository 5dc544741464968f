"""The price level itself, as in the lecture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrossel.targets.base import Target, ahead

if TYPE_CHECKING:
    from carrossel.targets.base import Prices


class Price(Target, kind="price"):
    """y_t = close_{t+h}. Not stationary: a network trained on it tends to repeat the last price it saw."""

    def label(self, close: Prices, horizon: int) -> Prices:
        return ahead(close, horizon)

    def unchanged(self, close: Prices) -> Prices:
        return close

    def price(self, forecast: Prices, last_close: Prices) -> Prices:
        del last_close
        return forecast
