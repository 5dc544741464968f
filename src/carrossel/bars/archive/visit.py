"""One update of an archive: which ranges to ask for, in which order, and what to remember of the answers."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carrossel.bars.archive.memory import Memory, Missing, wait_after_failure, wait_for_gap, write_memory
from carrossel.bars.archive.partitions import Partitions, Rows, merge, nanoseconds_of, rows_of, time_of
from carrossel.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carrossel.bars.sources.base import LiveSource

OVERLAP = 3
"""Newest bars that are asked for again, since exchanges revise those."""

MOST_IN_GAPS = 2000
"""Bars that one update asks for in gaps, at most, so that the newest bar never waits long for old holes."""

TOGETHER = 300
"""Holes with fewer bars between them are one request: it costs more than the bars in it."""

Range = tuple[pd.Timestamp, pd.Timestamp]


@dataclass
class Update:
    """What one update did.

    Attributes:
        added: bars that weren't there.
        revised: bars that had been delivered with other numbers before; both are kept.
        failed: sentences about what couldn't be asked or wasn't answered.
        first: stamp of the oldest bar added or revised.
        last: stamp of the newest.
        dropped: rows whose stamp lies in the future or outside of what was asked for.
    """

    added: int = 0
    revised: int = 0
    failed: tuple[str, ...] = ()
    first: pd.Timestamp | None = None
    last: pd.Timestamp | None = None
    dropped: int = 0

    def count(self, fresh: Rows, revised: int) -> None:
        """Rows that were stored just now."""
        first, last = time_of(int(fresh.stamps[0])), time_of(int(fresh.stamps[-1]))
        self.added += len(fresh.stamps) - revised
        self.revised += revised
        self.first = first if self.first is None else min(first, self.first)
        self.last = last if self.last is None else max(last, self.last)


@dataclass
class Visit:
    """One update, by who holds the archive's lock.

    Attributes:
        now: the present as the source sees it.
        memory: of the updates before.
    """

    partitions: Partitions
    step: pd.Timedelta
    source: LiveSource
    now: pd.Timestamp
    memory: Memory
    update: Update = field(default_factory=Update)
    error: SourceError | None = None

    def run(self) -> Update:
        """The newest bars first, since somebody waits for them; then what lies before, what failed, and what was left out.

        Raises:
            SourceError: if the source failed and there is no bar at all.
        """
        start, first, last = self.source.first(), self.partitions.first(), self.partitions.last()
        if last is not None and time_of(last) + self.step > self.now:
            self._say(
                f"the clock says {_minute(self.now)} UTC, but the newest bar stored is of {_minute(time_of(last))} and ends "
                "later: nothing was asked for and nothing changed. Check the clock"
            )
            return self.update
        if last is None and (reach := self.source.reach(self.now)) is not None and start < reach:
            self._say(f"bars before {_minute(reach)} UTC can't be had from this source: asked from then on")
        if self.memory.start is None:
            self.memory.start = start if first is None else time_of(first)
        up = self._ask_newest(start, last) and self._ask_earlier(start, self.memory.start)
        self._note_holes(self.memory.checked, unasked=last is not None and self.memory.checked is None)
        if up and self._ask_failed():
            self._ask_holes()
        last = self.partitions.last()
        if last is None:
            if self.error is not None:
                raise self.error
            return self.update
        self.memory.checked = self.partitions.name_of(last)
        self._save()
        return self.update

    def _ask_newest(self, start: pd.Timestamp, last: int | None) -> bool:
        if last is None:
            return self._ask(start, self.now)
        newest = time_of(last)
        if newest + 2 * self.step > self.now:  # the next bar is still open
            return True
        return self._ask(max(newest - (OVERLAP - 1) * self.step, min(start, newest)), self.now)

    def _ask_earlier(self, start: pd.Timestamp, asked_from: pd.Timestamp) -> bool:
        """Ask for what lies before, if `start` was moved back."""
        if start >= asked_from:
            return True
        up = self._ask(start, asked_from)
        self.memory.start = start  # of what didn't come, the failure is remembered
        if self.memory.checked is not None:
            self.memory.checked = min(self._name_of(start), self.memory.checked)
        return up

    def _ask_failed(self) -> bool:
        for missing in [each for each in self.memory.failed if each.is_due(self.now)]:
            if not self._ask(missing.first, missing.end):
                return False
            self._note_holes(self._name_of(missing.first), missing.end)
        return True

    def _ask_holes(self) -> None:
        asked: dict[str, int] = {}
        wanted: list[Range] = []
        bars = 0
        for name, gap in sorted(self.memory.gaps.items(), reverse=True):
            if not gap.is_due(self.now):
                continue
            bars += (gap.end - gap.first) // self.step
            if asked and bars > MOST_IN_GAPS:
                break
            asked[name] = gap.tries
            wanted += self._holes_ending_in(name)
        for first, end in _joined(wanted, TOGETHER * self.step):
            up = self._ask(first, end)
            self._note_holes(self._name_of(first), end)
            if not up:
                return
        for name, tries in asked.items():
            if (left := self.memory.gaps.get(name)) is not None:
                self.memory.gaps[name] = self._gap(left.first, left.end, left.bars, tries + 1)

    def _ask(self, start: pd.Timestamp, end: pd.Timestamp) -> bool:
        """Ask for [start, end) and store what comes. A month that fails is skipped and remembered; two in a row are the end.

        Returns:
            Whether the source answered at last.
        """
        before = [each for each in self.memory.failed if each.first >= start and each.end <= end]
        reach = self.source.reach(self.now)
        start = start if reach is None else max(start, reach)
        misses = 0
        while start < end:
            position = start
            try:
                for page in self.source.pages(start, end):
                    newest = self._store(page, start, end)
                    position = position if newest is None else max(position, newest + self.step)
            except SourceError as error:
                misses = 1 if position > start else misses + 1
                start = end if misses > 1 else min(end, _next_month(position))
                self._remember_failure(position, start, error, before)
            else:
                misses, start = 0, end
        self.memory.failed = [each for each in self.memory.failed if each not in before]
        if before and self.memory.checked is not None:  # what failed wasn't looked at for holes
            self.memory.checked = min(self.memory.checked, *(self._name_of(each.first) for each in before))
        return not misses

    def _store(self, page: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> pd.Timestamp | None:
        """Add a page's closed bars; the newest one's stamp."""
        now = nanoseconds_of(self.now)
        rows = rows_of(page, now)
        wanted = (rows.stamps >= nanoseconds_of(start)) & (rows.stamps < nanoseconds_of(end)) & (rows.stamps <= now)
        self.update.dropped += int((~wanted).sum())
        rows = rows.take(wanted & (rows.stamps <= now - self._step))
        for name, part in self.partitions.split(rows):
            merged, fresh, revised = merge(self.partitions.read(name), part)
            if len(fresh.stamps):
                self.partitions.write(name, merged)
                self.update.count(fresh, revised)
        return time_of(int(rows.stamps[-1])) if len(rows.stamps) else None

    def _remember_failure(
        self, first: pd.Timestamp, end: pd.Timestamp, error: SourceError, before: list[Missing]
    ) -> None:
        """Write it down at once: when later bars are stored, nothing else tells that these failed."""
        self.error = error
        if first >= end:
            return
        self._say(f"{_minute(first)} to {_minute(end)} UTC: {error}")
        tries = 1 + max((each.tries for each in before if each.first < end and each.end > first), default=0)
        again = self.now + wait_after_failure(tries, self.step)
        failure = Missing(first=first, end=end, tries=tries, asked=self.now, again=again, reason=str(error))
        self.memory.failed.append(failure)
        if self.partitions.last() is not None:
            self._save()

    def _note_holes(self, since: str | None, until: pd.Timestamp | None = None, *, unasked: bool = False) -> None:
        """Look for holes in the partitions from one to the first after `until`.

        Args:
            since: the first one's name.
            unasked: whether nobody asked for these bars as yet: then they are due at once.
        """
        names = self.partitions.names()
        for name in self.memory.gaps.keys() - set(names):  # somebody removed it; what it held is missed all the same
            del self.memory.gaps[name]
        first = 0 if since is None else bisect_left(names, since)
        after = None if until is None else self._name_of(until)
        previous = self._end_of(names[first - 1]) if first else None
        for name in names[first:]:
            stamps = self.partitions.read(name).stamps
            self._note(name, self._holes(previous, stamps), unasked=unasked)
            previous = int(stamps[-1])
            if after is not None and name > after:
                return

    def _note(self, name: str, holes: np.ndarray, *, unasked: bool) -> None:
        known = self.memory.gaps.pop(name, None)
        if not len(holes):
            return
        first, end = time_of(int(holes[0, 0])), time_of(int(holes[-1, 1]))
        bars = int(((holes[:, 1] - holes[:, 0]) // self._step).sum())
        gap = self._gap(first, end, bars, 0 if unasked else 1)
        if known is not None:
            gap = known.model_copy(update={"first": first, "end": end, "bars": bars})
        self.memory.gaps[name] = gap

    def _gap(self, first: pd.Timestamp, end: pd.Timestamp, bars: int | None, tries: int) -> Missing:
        again = self.now if tries == 0 else self.now + wait_for_gap(tries, self.now - end, self.step)
        return Missing(first=first, end=end, bars=bars, tries=tries, asked=self.now, again=again, reason="no bars came")

    def _holes_ending_in(self, name: str) -> list[Range]:
        names = self.partitions.names()
        place = names.index(name)
        previous = self._end_of(names[place - 1]) if place else None
        holes = self._holes(previous, self.partitions.read(name).stamps)
        return [(time_of(int(first)), time_of(int(end))) for first, end in holes]

    def _holes(self, previous: int | None, stamps: np.ndarray) -> np.ndarray:
        """From the first stamp missing to the next one there, int64 [holes, 2]. What failed isn't among them.

        Args:
            previous: the stamp before, in another partition.
        """
        if previous is not None:
            stamps = np.concatenate([[previous], stamps])
        before = np.flatnonzero(np.diff(stamps) > 1.5 * self._step)  # a clock change moves a session's stamps by less
        holes = np.column_stack([stamps[before] + self._step, stamps[before + 1]])
        for failed in self.memory.failed:
            apart = (holes[:, 1] <= nanoseconds_of(failed.first)) | (holes[:, 0] >= nanoseconds_of(failed.end))
            holes = holes[apart]
        return holes

    def _name_of(self, stamp: pd.Timestamp) -> str:
        return self.partitions.name_of(nanoseconds_of(stamp))

    def _end_of(self, name: str) -> int:
        return int(self.partitions.read(name).stamps[-1])

    @property
    def _step(self) -> int:
        return int(self.step.as_unit("ns").value)

    def _say(self, sentence: str) -> None:
        self.update.failed = (*self.update.failed, sentence.rstrip(".") + ".")

    def _save(self) -> None:
        self.memory.partitions = len(self.partitions.names())
        write_memory(self.partitions.memory, self.memory)


def _joined(ranges: Iterable[Range], apart: pd.Timedelta) -> list[Range]:
    """Ranges in order, those that lie near each other as one."""
    joined: list[Range] = []
    for first, end in sorted(ranges):
        if joined and first - joined[-1][1] < apart:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined


def _next_month(stamp: pd.Timestamp) -> pd.Timestamp:
    return pd.Timestamp(year=stamp.year + stamp.month // 12, month=stamp.month % 12 + 1, day=1, tz="UTC")


def _minute(stamp: pd.Timestamp) -> str:
    return stamp.strftime("%Y-%m-%d %H:%M")
