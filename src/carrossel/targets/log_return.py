"""The logarithmic return over the horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.targets.base import Target, ahead

if TYPE_CHECKING:
    from carrossel.targets.base import Columns, Values


class LogReturn(Target, kind="log_return"):
    """r_t = ln(close_{t+h} / close_t). Stationary, so one scaler serves the whole series."""

    def label(self, bars: Columns, horizon: int) -> Values:
        logarithm = np.log(bars["close"])
        return ahead(logarithm, horizon) - logarithm

    def unchanged(self, bars: Columns, horizon: int) -> Values:
        del horizon
        return np.where(np.isfinite(bars["close"]), 0.0, np.nan)

    def report(self, label: Values, last_close: Values) -> Values:
        price: Values = last_close * np.exp(label)
        return price
