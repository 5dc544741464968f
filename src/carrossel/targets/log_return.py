"""The logarithmic return over the horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.targets.base import Target, ahead

if TYPE_CHECKING:
    from carrossel.targets.base import Prices


class LogReturn(Target, kind="log_return"):
    """r_t = ln(close_{t+h} / close_t). Stationary, so one scaler serves the whole series."""

    def label(self, close: Prices, horizon: int) -> Prices:
        logarithm = np.log(close)
        return ahead(logarithm, horizon) - logarithm

    def unchanged(self, close: Prices) -> Prices:
        return np.zeros_like(close)

    def price(self, forecast: Prices, last_close: Prices) -> Prices:
        return last_close * np.exp(forecast)
