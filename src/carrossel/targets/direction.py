"""Whether the price goes up."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from carrossel.targets.base import Target, Unit, ahead

if TYPE_CHECKING:
    from carrossel.targets.base import Columns, Values


class Direction(Target, kind="direction"):
    """1 if close_{t+h} > close_t, else 0; forecast as the probability of 1.

    A price that stays is no rise. The naive forecast is a coin's: a random walk without drift says no more.
    """

    unit: ClassVar[Unit] = "probability"
    scaled: ClassVar[bool] = False
    heads: ClassVar[tuple[str, ...]] = ("probability",)

    def label(self, bars: Columns, horizon: int) -> Values:
        close = bars["close"]
        change = ahead(close, horizon) - close
        return np.where(np.isfinite(change), (change > 0).astype(np.float64), np.nan)

    def unchanged(self, bars: Columns, horizon: int) -> Values:
        del horizon
        return np.where(np.isfinite(bars["close"]), 0.5, np.nan)
