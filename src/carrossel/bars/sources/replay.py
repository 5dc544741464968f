"""A stored series played as if it came live, for tests, demos and policies."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
from filelock import FileLock
from pydantic import AwareDatetime, Field

from carrossel.bars.interval import nanoseconds
from carrossel.bars.sources.base import (
    COLUMNS,
    AnySource,
    LiveSource,
    LiveSourceConfig,
    SourceConfig,
    open_source,
)
from carrossel.bars.sources.web.paging import stamp
from carrossel.errors import SourceError
from carrossel.files import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PAGE = 50_000
_FOLDER = ".carrossel/replay"


class Replay(LiveSource, kind="replay"):
    """Bars of another source. Those before `start` are history; the others come one by one, or by an accelerated clock.

    Args:
        interval: length of the stored bars.
    """

    class Config(LiveSourceConfig):
        """Which series, from when on, how fast."""

        kind: Literal["replay"]
        of: Annotated[SourceConfig, AnySource(live=False)] = Field(description="The stored series, by kind.")
        start: AwareDatetime = Field(description="Stamp at which the live part begins; bars before it are history.")
        speed: float | None = Field(
            None,
            gt=0,
            le=1e9,
            description="Seconds of the series per second of the clock, 1 in real time; none: each look finds the next bar.",
        )

    config: Config

    def first(self) -> pd.Timestamp:
        """Stamp of the series' first bar."""
        return stamp(int(self._stamps()[0]))

    def pages(self, start: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.DataFrame]:
        low, high = np.searchsorted(self._stamps(), [start.value, end.value])
        for begin in range(low, high, _PAGE):
            yield self._series().iloc[begin : min(begin + _PAGE, high)].reset_index(drop=True)

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "of": self.config.of.model_dump(mode="json"),
            "start": self.config.start.isoformat(),
            "interval": self.interval,
        }

    def present(self, now: pd.Timestamp, last: pd.Timestamp | None, step: pd.Timedelta) -> pd.Timestamp:
        """When the replay is.

        Without speed: `start` until the history is stored, then the end of the `step` that holds the first bar after `last`,
        so that it is closed; after the last bar the end of the series. The same `last` gives the same present.

        With speed: `start` plus the time since the first look, times speed. The first look's time is kept in
        `.carrossel/replay/`, so that a restart goes on.

        Raises:
            SourceError: if that file isn't what was written.
        """
        begin = pd.Timestamp(self.config.start).tz_convert("UTC").value
        stamps, length = self._stamps(), nanoseconds(self.interval)
        end = int(stamps[-1]) + length
        if self.config.speed is not None:
            passed = max((now - self._anchor(now)).total_seconds(), 0.0) * self.config.speed
            # Capped before nanoseconds overflow: a fast replay is over soon.
            return stamp(begin + round(min(passed, max(end - begin, 0) / 1e9 + step.total_seconds()) * 1e9))
        following = 0 if last is None else int(np.searchsorted(stamps, last.value, side="right"))
        if following == len(stamps):
            return stamp(max(begin, -(-end // step.value) * step.value))
        upcoming = int(stamps[following])
        if upcoming + length <= begin:
            return stamp(begin)
        return stamp(max(upcoming // step.value * step.value + step.value, upcoming + length))

    def _anchor(self, now: pd.Timestamp) -> pd.Timestamp:
        key = hashlib.sha256(self._key().encode()).hexdigest()[:16]
        path = self.root / _FOLDER / f"{key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=30):
            if not path.exists():
                write_json(path, {"began": now.isoformat(), "replay": json.loads(self._key())})
            try:
                began = pd.Timestamp(json.loads(path.read_text(encoding="utf-8"))["began"])
                return began.tz_convert("UTC")
            except (ValueError, KeyError, TypeError, OSError) as error:
                raise SourceError(
                    f"{path} isn't as it was written ({error}). Delete it; the replay then begins anew."
                ) from None

    def _key(self) -> str:
        return json.dumps({**self.describe(), "speed": self.config.speed}, sort_keys=True)

    def _series(self) -> pd.DataFrame:
        return _load(self.config.of, self.root, self.interval)[0]

    def _stamps(self) -> np.ndarray:
        return _load(self.config.of, self.root, self.interval)[1]


_loaded: dict[tuple[str, str, str], tuple[pd.DataFrame, np.ndarray]] = {}


def _load(config: SourceConfig, root: Path, interval: str) -> tuple[pd.DataFrame, np.ndarray]:
    """A series sorted by time, without rows that have no price, and its stamps in nanoseconds; read once per process."""
    key = (config.model_dump_json(), str(root), interval)
    if key not in _loaded:
        frame = open_source(config, root, interval).fetch().frame.loc[:, list(COLUMNS)]
        frame = frame[np.isfinite(frame["close"])].sort_values("timestamp", kind="stable", ignore_index=True)
        if not len(frame):
            raise SourceError(f"replay of {config.kind}: the series has no bar with a price. Take another.")
        _loaded[key] = frame, frame["timestamp"].dt.tz_localize(None).to_numpy().view(np.int64)
    return _loaded[key]
