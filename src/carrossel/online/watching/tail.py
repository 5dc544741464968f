"""The newest canonical bars of an archive, each as it is in the whole series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carrossel.bars.grid import make_grid
from carrossel.bars.interval import nanoseconds
from carrossel.bars.preparation import prepare
from carrossel.bars.sources.base import PRICES, RawBars
from carrossel.errors import BarsError, SeriesTooShort

if TYPE_CHECKING:
    from carrossel.bars.archive import Archive
    from carrossel.bars.config import Dataset, Repair
    from carrossel.bars.grid import Grid

SLACK = 200
"""Bars before those that are needed: short gaps are filled from both sides, and a bad print is judged beside its neighbours."""

_LONGER = (1, 4, 16, 64)
_AROUND = pd.Timedelta(days=60)


class Clockwork:
    """When bars begin and end on a dataset's grid."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.step = nanoseconds(dataset.bar_interval)
        self._grid: Grid | None = None
        self._first = self._last = pd.Timestamp(0, tz="UTC")

    def ahead(self, stamp: pd.Timestamp, bars: int) -> pd.Timestamp:
        """Stamp of the bar so many bars after (or before) another."""
        grid = self._around(stamp, bars)
        return _time(grid.label(grid.place(_number(stamp)) + bars))

    def start(self, stamp: pd.Timestamp) -> pd.Timestamp:
        """When a bar began."""
        grid = self._around(stamp)
        return _time(grid.start(grid.place(_number(stamp))))

    def close(self, stamp: pd.Timestamp) -> pd.Timestamp:
        """When a bar ends: its numbers are known from then on."""
        grid = self._around(stamp)
        return _time(grid.end(grid.place(_number(stamp))))

    def holding(self, moment: pd.Timestamp) -> pd.Timestamp:
        """Stamp of the bar that holds a moment, or of the last one before it."""
        grid = self._around(moment)
        return _time(grid.label(grid.containing(_number(moment))))

    def next_close(self, moment: pd.Timestamp) -> pd.Timestamp:
        """When the bar ends that is open now, or else the next one."""
        grid = self._around(moment)
        place = grid.containing(_number(moment))
        end = _time(grid.end(place))
        return end if end > moment else _time(grid.end(place + 1))

    def newest_closed(self, moment: pd.Timestamp) -> pd.Timestamp:
        """Stamp of the last bar that has ended."""
        grid = self._around(moment)
        place = grid.containing(_number(moment))
        return _time(grid.label(place if _time(grid.end(place)) <= moment else place - 1))

    def _around(self, stamp: pd.Timestamp, bars: int = 0) -> Grid:
        # A week of an exchange has fewer hours than a week, so a stretch of bars takes longer than bars times step.
        reach = max(_AROUND, pd.Timedelta(12 * abs(bars) * self.step, "ns"))
        first, last = (stamp - reach, stamp + _AROUND) if bars < 0 else (stamp - _AROUND, stamp + reach)
        if self._grid is None or first < self._first or last > self._last:
            self._first, self._last = min(first, stamp - 2 * _AROUND), max(last, stamp + 2 * _AROUND)
            bounds = (int(each.as_unit("ns").value) for each in (self._first, self._last))
            self._grid = make_grid(self.dataset.calendar, self.step, *bounds)
        return self._grid


class Tail:
    """Reads an archive's end and prepares it as the stage `prepare` does the whole.

    Args:
        name: the dataset's, for messages.
    """

    def __init__(self, archive: Archive, dataset: Dataset, repair: Repair, name: str) -> None:
        self.archive, self.dataset, self.repair, self.name = archive, dataset, repair, name
        self.clockwork = Clockwork(dataset)

    def read(
        self, first: pd.Timestamp, needed: int, present: pd.Timestamp, settled: pd.Timestamp | None = None
    ) -> pd.DataFrame:
        """Canonical bars up to the newest closed one.

        Their numbers and status are those of the whole series, but for rules that look further back than that: a stretch
        copied from long ago is known as a copy only beside it.

        Args:
            first: stamp of the first bar that will be worked on.
            needed: bars before it, at least, where the archive has them.
            present: bars that end later aren't closed.
            settled: up to here the source has delivered all it has; `present` if not given. A resampled bar whose last source
                bars never came is closed by then.

        Raises:
            BarsError: if the bars break the contract of a price series.
            SeriesTooShort: if there are fewer than two bars.
        """
        refused: BarsError | SeriesTooShort | None = None
        before = -1
        for factor in (*_LONGER, None):
            since = None
            if factor is not None:
                since = self.clockwork.start(self.clockwork.ahead(first, -factor * (needed + SLACK)))
            raw = self.archive.read(since)
            raw = raw.loc[raw["timestamp"] < present]  # a clock that was turned back is the archive's to report
            raw, now = self._close_last(raw, present if settled is None else settled)
            enough = (needed + SLACK) * self._raw_per_bar / 2
            # After a long gap the stretch may hold too few bars; then one rule may also be broken by more than a share of them.
            if factor is not None and (len(raw) < enough or (refused and len(raw) == before)):
                before = len(raw)
                continue
            try:
                bars = prepare(RawBars(raw, {}), self.dataset, self.repair, name=self.name, now=max(present, now)).bars
            except (BarsError, SeriesTooShort) as error:
                refused, before = error, len(raw)
                continue
            # A resampled bar's first return starts in the bar before it.
            return bars if since is None or self.dataset.resample is None else bars.iloc[1:].reset_index(drop=True)
        assert refused is not None  # noqa: S101 - the whole archive was tried last
        raise refused

    def _close_last(self, raw: pd.DataFrame, settled: pd.Timestamp) -> tuple[pd.DataFrame, pd.Timestamp]:
        """Let the series reach the end of its last resampled bar, by a first source bar of the next one, which drops out again.

        Returns:
            The source's bars, and the time by which they are closed.
        """
        if self.dataset.resample is None or raw.empty:
            return raw, settled
        last = raw.iloc[-1]
        bar = self.clockwork.holding(last["timestamp"])
        interval = pd.Timedelta(nanoseconds(self.dataset.interval), "ns")
        end = self.clockwork.close(bar)
        if end > settled or last["timestamp"] + interval >= end:
            return raw, settled
        following = self.clockwork.start(self.clockwork.ahead(bar, 1))
        still = dict.fromkeys(PRICES, last["close"]) | {"timestamp": following, "volume": last["volume"] * 0}
        closing = pd.DataFrame([still], columns=raw.columns).astype(raw.dtypes)
        return pd.concat([raw, closing], ignore_index=True), following + interval

    @property
    def _raw_per_bar(self) -> int:
        return self.clockwork.step // nanoseconds(self.dataset.interval)


def _number(stamp: pd.Timestamp) -> np.ndarray:
    return np.array([stamp.as_unit("ns").value], np.int64)


def _time(number: np.ndarray) -> pd.Timestamp:
    return pd.Timestamp(int(number[0]), unit="ns", tz="UTC")
