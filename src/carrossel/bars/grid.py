"""Where bars belong: every interval of a market that never closes, or the sessions of an exchange.

All times are int64 nanoseconds since 1970 in UTC; a place is a bar's number on the grid.
"""

from __future__ import annotations

import abc
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from carrossel.bars.config import ALWAYS_OPEN
from carrossel.bars.interval import DAY, written
from carrossel.errors import BarsError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Grid(abc.ABC):
    """Consecutive intervals, numbered."""

    def __init__(self, step: int) -> None:
        self.step = step

    @abc.abstractmethod
    def place(self, stamps: np.ndarray) -> np.ndarray:
        """Number of the last label at or before each stamp."""

    @abc.abstractmethod
    def containing(self, stamps: np.ndarray) -> np.ndarray:
        """Number of the last interval that starts at or before each stamp."""

    @abc.abstractmethod
    def label(self, places: np.ndarray) -> np.ndarray:
        """Stamp that a bar at each place carries."""

    @abc.abstractmethod
    def start(self, places: np.ndarray) -> np.ndarray:
        """First nanosecond of each interval."""

    @abc.abstractmethod
    def end(self, places: np.ndarray) -> np.ndarray:
        """First nanosecond after each interval."""

    def snap(self, stamps: np.ndarray) -> np.ndarray:
        """Stamps moved to the labels that are plainly meant."""
        return stamps

    def has(self, stamps: np.ndarray) -> np.ndarray:
        """Which stamps are labels."""
        places = self.place(stamps)
        inside = places >= 0
        return np.asarray(inside & (self.label(np.where(inside, places, 0)) == stamps))


class Continuous(Grid):
    """Intervals without end, aligned to 1970-01-01 00:00 UTC."""

    def place(self, stamps: np.ndarray) -> np.ndarray:
        return stamps // self.step

    containing = place

    def label(self, places: np.ndarray) -> np.ndarray:
        return places * self.step

    start = label

    def end(self, places: np.ndarray) -> np.ndarray:
        return (places + 1) * self.step

    def has(self, stamps: np.ndarray) -> np.ndarray:
        return np.asarray(stamps % self.step == 0)


class Sessions(Grid):
    """An exchange's sessions, or equal intervals inside of them.

    A daily bar carries midnight UTC of its session's date and lasts from open to close; a shorter one carries its start.
    The last interval of a session ends with it.
    """

    def __init__(self, step: int, labels: np.ndarray, starts: np.ndarray, ends: np.ndarray, zone: Any) -> None:
        super().__init__(step)
        self._labels, self._starts, self._ends, self._zone = labels, starts, ends, zone

    def place(self, stamps: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._labels, stamps, side="right") - 1

    def containing(self, stamps: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._starts, stamps, side="right") - 1

    def label(self, places: np.ndarray) -> np.ndarray:
        return np.asarray(self._labels[places])

    def start(self, places: np.ndarray) -> np.ndarray:
        return np.asarray(self._starts[places])

    def end(self, places: np.ndarray) -> np.ndarray:
        return np.asarray(self._ends[places])

    def snap(self, stamps: np.ndarray) -> np.ndarray:
        """A daily stamp with a time of day means the date that it has on the exchange's clock."""
        timed = stamps % DAY != 0
        if self.step != DAY or not timed.any():
            return stamps
        there = pd.DatetimeIndex(stamps[timed].view("datetime64[ns]")).tz_localize("UTC").tz_convert(self._zone)
        snapped = stamps.copy()
        snapped[timed] = _int64(there.tz_localize(None).normalize())
        return snapped


def make_grid(calendar: str, step: int, first: int, last: int) -> Grid:
    """The grid of a calendar, covering at least `first` to `last`.

    Raises:
        ConfigError: if no exchange has that code.
        BarsError: if the calendar doesn't know those years.
    """
    if calendar == ALWAYS_OPEN:
        return Continuous(step)
    import exchange_calendars

    week = pd.Timedelta(days=14)
    begin, finish = (pd.Timestamp(time).normalize() for time in (first, last))
    with _tolerating_exchange_calendars():
        try:
            known = exchange_calendars.get_calendar(calendar, start=begin - week, end=finish + week)
        except exchange_calendars.errors.InvalidCalendarName:
            raise ConfigError(
                f"calendar = {calendar!r}: no exchange has that code. Use 24/7, or a code such as XNYS (New York), XNAS "
                "(Nasdaq), XLON (London), XETR (Frankfurt), BVMF (São Paulo), XTKS (Tokyo)."
            ) from None
        except (ValueError, exchange_calendars.errors.CalendarError) as error:
            raise BarsError(
                f"calendar {calendar} doesn't cover {begin.date()} to {finish.date()}: {error}. Take another calendar or "
                "cut the series."
            ) from None
        if step == DAY:
            labels, starts, ends = known.sessions, known.opens, known.closes
        else:
            index = known.trading_index(
                known.first_session, known.last_session, pd.Timedelta(step), intervals=True, force=True
            )
            labels, starts, ends = index.left, index.left, index.right
        return Sessions(step, _int64(labels), _int64(starts), _int64(ends), known.tz)


def usual_step(places: np.ndarray, grid: Grid) -> str:
    """Most frequent distance between neighbours, as an interval for messages."""
    distances, counts = np.unique(np.diff(places), return_counts=True)
    return written(int(distances[counts.argmax()]) * grid.step)


def _int64(times: Any) -> np.ndarray:
    index = pd.DatetimeIndex(times)
    if index.tz is not None:
        index = index.tz_convert("UTC").tz_localize(None)
    return np.asarray(index.as_unit("ns").to_numpy()).view(np.int64)


@contextmanager
def _tolerating_exchange_calendars() -> Iterator[None]:
    """exchange_calendars 4.13 calls what pandas 3.1 deprecates; its results are right, and the warning isn't ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield
