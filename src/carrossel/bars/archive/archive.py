"""A folder of bars that grows: ask a live source for what is missing, keep what it says, forget nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
from filelock import FileLock, Timeout

from carrossel.bars.archive.memory import Memory, read_memory
from carrossel.bars.archive.partitions import Partitions, Rows, concatenate, nanoseconds_of, time_of
from carrossel.bars.archive.visit import Update, Visit
from carrossel.bars.interval import nanoseconds
from carrossel.errors import BarsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carrossel.bars.sources.base import LiveSource


_ASIDE = frozenset({"start", "url", "archives", "terms"})  # from when on and where to ask, not for what


class Occupied(BarsError):
    """Another process writes to the archive."""


class Archive:
    """Bars of one live source, with every revision and the time at which each was learned.

    A reader needs no lock: partitions are written oldest first and replaced whole, and reading begins with the newest, so what is
    read has no hole that wasn't there.

    Args:
        folder: `data/archive/D`; made by the first update.
        interval: length of the bars, such as 1h.
        patience: seconds to wait for another process that writes.
    """

    def __init__(self, folder: Path, interval: str, *, patience: float = 30.0) -> None:
        self.folder = folder
        self.interval = interval
        self.step = pd.Timedelta(nanoseconds(interval), "ns")
        self._partitions = Partitions(folder, interval)
        self._patience = patience

    @property
    def last(self) -> pd.Timestamp | None:
        """Stamp of the newest bar, UTC.

        Raises:
            BarsError: if the newest partition is damaged.
        """
        stamp = self._partitions.last()
        return None if stamp is None else time_of(stamp)

    def update(self, source: LiveSource, now: pd.Timestamp) -> Update:
        """Ask for what is missing, the newest bars first, and store page by page: whoever ends this loses the page in hand.

        Bars whose interval hasn't ended at `now` aren't stored. A source that fails leaves what came before, and its failure
        in `failed`; it is asked again, less and less often, as are holes that it left.

        Args:
            source: of the dataset; always the same one for the same folder.
            now: the present as the source sees it (`LiveSource.present`), UTC.

        Raises:
            SourceError: if the source failed and there is no bar at all.
            Occupied: if another process holds the archive for longer than this one is patient.
            BarsError: if a file in it is damaged, or it belongs to another source.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / ".lock", timeout=self._patience):
                self._partitions.remove_leftovers()
                return Visit(self._partitions, self.step, source, now.tz_convert("UTC"), self._recall(source)).run()
        except Timeout:
            raise Occupied(
                f"another process is writing to {self.folder}. Wait for it or end it, then run again."
            ) from None

    def read(self, since: pd.Timestamp | None = None) -> pd.DataFrame:
        """The newest revision of each bar, oldest first, with the columns of `RawBars.frame`.

        Args:
            since: stamp of the first bar wanted; older partitions aren't opened.

        Raises:
            BarsError: if a partition is damaged.
        """
        return concatenate([rows for _, rows in self._newest_first(since)][::-1]).frame()

    def partitions(self, since: pd.Timestamp | None = None) -> Iterator[tuple[str, pd.DataFrame]]:
        """The same as `read`, one partition at a time, the newest first: its name and its bars."""
        return ((name, rows.frame()) for name, rows in self._newest_first(since))

    def _newest_first(self, since: pd.Timestamp | None) -> Iterator[tuple[str, Rows]]:
        first = None if since is None else nanoseconds_of(since)
        for name in reversed(self._partitions.names()):
            if first is not None and name < self._partitions.name_of(first):
                return
            rows = self._partitions.read(name).newest()
            if first is not None:
                rows = rows.take(rows.stamps >= first)
            if len(rows.stamps):
                yield name, rows

    def _recall(self, source: LiveSource) -> Memory:
        path = self._partitions.memory
        described = {key: value for key, value in source.describe().items() if key not in _ASIDE}
        described = json.loads(json.dumps(described))  # as it comes back from the file
        memory = read_memory(path)
        if memory is None:
            return Memory(interval=self.interval, source=described)
        if (memory.interval, memory.source) != (self.interval, described):
            raise BarsError(
                f"{self.folder} holds bars of {memory.interval} from {_shown(memory.source)}; the dataset is {self.interval} "
                f"from {_shown(described)} now. Move the folder away or name the dataset anew; if both are the same "
                f"series, delete {path}."
            )
        if len(self._partitions.names()) < memory.partitions:  # somebody removed one: its bars are to be missed
            memory.start = memory.checked = None
        return memory


def _shown(source: dict[str, Any]) -> str:
    return json.dumps(source, sort_keys=True, ensure_ascii=False)
