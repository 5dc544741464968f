"""Long ranges as requests that are short enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carrossel.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def paged(
    ask: Callable[[pd.Timestamp, pd.Timestamp], pd.DataFrame],
    start: pd.Timestamp,
    end: pd.Timestamp,
    step: int,
    most: int,
    where: str,
) -> Iterator[pd.DataFrame]:
    """Pages of bars whose stamps lie in [start, end), each of a window that can hold at most `most`.

    Fixed windows end for sure, whatever comes: an empty one is one without trades. A page that repeats the one before
    (a cache in the way) is asked for once more.

    Args:
        ask: gives the bars from one stamp to another, both included.
        step: length of a bar in nanoseconds.
        where: the URL, for messages.

    Raises:
        SourceError: if the same page comes for one window after the other.
    """
    first, stop = -(-start.value // step) * step, end.value
    before: pd.DataFrame | None = None
    while first < stop:
        last = min(first + (most - 1) * step, (stop - 1) // step * step)
        window = stamp(first), stamp(last)
        page = ask(*window)
        if _repeats(page, before):
            page = ask(*window)
        if _repeats(page, before):
            raise SourceError(
                f"{where}: the page before came again for {window[0]} to {window[1]}. Something between here and the exchange "
                "keeps old answers; the next run asks again."
            )
        if len(page):
            yield page
            before = page
        first = last + step


def stamp(nanoseconds: int) -> pd.Timestamp:
    """An instant in UTC."""
    return pd.Timestamp(nanoseconds, unit="ns", tz="UTC")


def _repeats(page: pd.DataFrame, before: pd.DataFrame | None) -> bool:
    # A single candle before `start` is how an exchange says that there were no trades.
    if before is None or len(page) != len(before) or len(page) < 2:  # noqa: PLR2004 -- more than one
        return False
    return bool(np.array_equal(page["timestamp"].to_numpy(), before["timestamp"].to_numpy()))
