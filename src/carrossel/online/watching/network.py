"""A stored forecaster that follows a series bar by bar."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carrossel.errors import CarrosselError, ModelError
from carrossel.forecaster.stored import load
from carrossel.online.ticking import Ticker
from carrossel.windows.tensor import scale_features

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from carrossel.forecaster.stored import Forecast
    from carrossel.online.ticking import StateKind


class LiveNetwork:
    """Knows which bars its state has seen, and goes on from there or starts over.

    Args:
        folder: of the model.
        version: what a carried state belongs to.
        kind: see `carrossel.online.ticking.Ticker`.
        recall: gives what `state` gave last, as it was stored.

    Raises:
        ModelError: see `carrossel.forecaster.stored.load`.
    """

    def __init__(self, folder: Path, version: str, kind: StateKind, recall: Callable[[], bytes | None]) -> None:
        self.stored = load(folder)
        self.lookback = self.stored.windows.lookback
        self.needed = int(self.stored.manifest.get("bars", {}).get("needed", self.lookback + 1))
        self._version, self._kind, self._recall = version, kind, recall
        self._ticker = Ticker(self.stored, kind)
        self._ticked: pd.Timestamp | None = None
        self._stamps: list[pd.Timestamp] = []
        self._closes: NDArray[np.float64] = np.empty(0)
        self._series: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._seen: NDArray[np.float32] = self._series
        self._why = ""

    def look(self, bars: pd.DataFrame) -> None:
        """Take canonical bars, oldest first, and compute their features once for all forecasts from them."""
        self._stamps, self._closes = list(bars["timestamp"]), bars["close"].to_numpy(np.float64)
        self._series = np.full((len(bars), len(self.stored.windows.features)), np.nan, np.float32)
        self._why = ""
        if lacking := set(self.stored.manifest.get("bars", {}).get("columns", ())) - set(bars):
            self._why = f"the bars lack {', '.join(sorted(lacking))}, which the champion was trained on"
            return
        try:
            series = scale_features(bars, self.stored.windows, self.stored.feature_scaler).numpy()
        except CarrosselError as error:
            self._why = " ".join(str(error).split())
            return
        series[~np.isfinite(self._closes)] = np.nan
        # Nearer to the start, a mean over a week would be one over what there is, which the network never saw in training.
        series[: self.needed - self.lookback] = np.nan
        self._series = series

    def inputs(self, row: int) -> tuple[float, ...] | None:
        """A bar's scaled features, if all are there."""
        values = self._series[row]
        return tuple(float(value) for value in values) if np.isfinite(values).all() else None

    def forecast(self, row: int) -> tuple[Forecast | None, str]:
        """What comes after a bar, or None and why there is none."""
        window = self._series[max(0, row - self.lookback + 1) : row + 1]
        if self._why or len(window) < self.lookback or not np.isfinite(window).all():
            return None, self._why or f"no complete window of {self.lookback} bars"
        if self._kind == "carried" and self._ticked is not None and self._stamps[row] <= self._ticked:
            return self._look_back(row), ""
        if not self._goes_on(row):
            self._start_over(row)
        found = self._ticker.tick(self._series[row], float(self._closes[row]))
        self._ticked, self._seen = self._stamps[row], window
        return found, "" if found is not None else f"no complete window of {self.lookback} bars"

    def state(self, row: int) -> bytes | None:
        """The state after a bar, if it is carried and this bar was its last."""
        if self._kind == "window" or self._ticked != self._stamps[row]:
            return None
        header = {"version": self._version, "bar": self._stamps[row].isoformat()}
        return json.dumps(header).encode() + b"\n" + self._ticker.save()

    def forget(self) -> None:
        """Start from what was stored: what came last wasn't."""
        self._ticked = None

    def _goes_on(self, row: int) -> bool:
        if self._ticked is None or row == 0 or self._ticked != self._stamps[row - 1]:
            return False
        # A bar that was revised since changes a window; a state that is carried has seen it as it was.
        return self._kind == "carried" or np.array_equal(
            self._seen[1:], self._series[row - self.lookback + 1 : row], equal_nan=True
        )

    def _start_over(self, row: int) -> None:
        if self._kind == "window":
            self._ticker.fill(self._series[row - self.lookback + 1 : row])
        elif (following := self._restore(row)) is None:
            self._ticker.fill(self._series[:row])
        else:
            for values in self._series[following:row]:
                self._ticker.push(values)

    def _restore(self, row: int) -> int | None:
        """Go on from the stored state if it is this model's and its bar is at hand; the row after that bar."""
        header, _, state = (self._recall() or b"").partition(b"\n")
        try:
            told = json.loads(header or b"{}")
            following = self._stamps.index(pd.Timestamp(told["bar"])) + 1
            if told["version"] != self._version or following > row:
                return None
            self._ticker.restore(state)
        except (KeyError, ValueError, ModelError):
            return None
        return following

    def _look_back(self, row: int) -> Forecast | None:
        """From a bar that came late, without disturbing the state of the bars after it."""
        state = self._ticker.save()
        self._ticker.fill(self._series[:row])
        found = self._ticker.tick(self._series[row], float(self._closes[row]))
        self._ticker.restore(state)
        return found
