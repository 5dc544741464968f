"""What can be wrong with bars: each check finds rows, none changes them.

Arrays are float64 or int64, one value per bar, in time order unless said otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

TRUSTED_SHARE = 0.01
"""A file with more bad rows than this isn't repaired but refused: its schema, calendar or interval is likely misread."""

BAD_PRINT_SCALES = 20.0
BAD_PRINT_FLOOR = float(np.log(1.2))
BAD_WICK_FLOOR = float(np.log(2.0))
MAD_TO_SIGMA = 1.4826
ROUNDING = 1e-3
SHORTEST_COPY = 3
SHOWN = 5


def too_many(count: int, rows: int) -> bool:
    """Whether so many bad rows are more than accidents."""
    return count > max(1, TRUSTED_SHARE * rows)


def without_price(bars: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows that lack a price: NaN or infinite."""
    known = np.ones(len(bars["close"]), bool)
    for name in ("open", "high", "low", "close"):
        known &= np.isfinite(bars[name])
    return ~known


def not_positive(bars: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows with a price of zero or less, or a volume below zero."""
    bad: np.ndarray = np.less(bars["volume"], 0)
    for name in ("open", "high", "low", "close"):
        bad |= np.less_equal(bars[name], 0)
    return bad


def repeated_stamps(bars: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose time comes again later; bars are sorted stably, so the file's last row of a time is kept.

    Returns:
        Rows that equal the last one of their time, and rows that contradict it.
    """
    stamps = bars["timestamp"]
    again = np.zeros(len(stamps), bool)
    again[:-1] = stamps[1:] == stamps[:-1]
    if not again.any():
        return again, again.copy()
    last = np.searchsorted(stamps, stamps[again], side="right") - 1
    rows = np.flatnonzero(again)
    same = np.ones(len(rows), bool)
    for name in ("open", "high", "low", "close", "volume"):
        mine, kept = bars[name][rows], bars[name][last]
        same &= (mine == kept) | (np.isnan(mine) & np.isnan(kept))
    identical, conflicting = np.zeros_like(again), np.zeros_like(again)
    identical[rows[same]] = True
    conflicting[rows[~same]] = True
    return identical, conflicting


def outside_range(bars: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose open or close lies outside of low … high.

    Returns:
        Rows where it is by at most 0.1 %, as rounding and adjusting do, and rows where it is by more.
    """
    top = np.maximum(bars["open"], bars["close"])
    bottom = np.minimum(bars["open"], bars["close"])
    wrong = (bars["high"] < top) | (bars["low"] > bottom)
    far = (bars["high"] < top * (1 - ROUNDING)) | (bars["low"] > bottom * (1 + ROUNDING))
    return wrong & ~far, far


def bad_prints(bars: Mapping[str, np.ndarray]) -> np.ndarray:
    """Single bars whose price jumps far from both neighbours, to the same side, while the neighbours agree.

    With neighbours' log closes p and n, a log price x jumps by min(|x−p|, |x−n|) if x lies above both or below both, else
    by nothing. It is a bad print if it jumps by more than 20 robust standard deviations of a log return and by more than
    20 % (open, close) or a factor of 2 (high, low), and |n−p| is at most half of the jump. What is found is taken out and
    the rest judged again: the bar after a bad print often opens at it.

    The scale is 1.4826 · MAD of the log returns that aren't zero (Hampel 1974): one bad print can't widen it, and quiet
    markets don't make it zero. The floors keep real crashes, which take more than one bar to return or leave a long wick.
    First and last bar have one neighbour only and aren't judged.
    """
    found = np.zeros(len(bars["close"]), bool)
    left = bars
    while (rows := _jumps(left)).any():
        found[np.flatnonzero(~found)[rows]] = True
        left = {name: bars[name][~found] for name in ("open", "high", "low", "close")}
    return found


def _jumps(bars: Mapping[str, np.ndarray]) -> np.ndarray:
    closes = bars["close"]
    found = np.zeros(len(closes), bool)
    if len(found) < 3:  # noqa: PLR2004 -- a bar and its neighbours
        return found
    lower, upper = np.minimum(closes[:-2], closes[2:]), np.maximum(closes[:-2], closes[2:])
    floors = {"open": BAD_PRINT_FLOOR, "close": BAD_PRINT_FLOOR, "high": BAD_WICK_FLOOR, "low": BAD_WICK_FLOOR}
    scale = None
    for name, floor in floors.items():
        inside = bars[name][1:-1]
        # Logarithms and the scale only where there is something to judge: in most series nowhere.
        rows = np.flatnonzero((inside > np.exp(floor) * upper) | (inside < lower / np.exp(floor)))
        if not len(rows):
            continue
        scale = _robust_scale(closes) if scale is None else scale
        price = np.log(inside[rows])
        jump = np.minimum(np.abs(price - np.log(lower[rows])), np.abs(price - np.log(upper[rows])))
        apart = np.log(upper[rows] / lower[rows])
        found[1 + rows[(jump > BAD_PRINT_SCALES * scale) & (2 * apart <= jump)]] = True
    return found


def _robust_scale(closes: np.ndarray) -> float:
    returns = np.diff(np.log(closes))
    moving = returns[returns != 0]
    return MAD_TO_SIGMA * float(np.median(np.abs(moving - np.median(moving)))) if len(moving) else 0.0


def copies(bars: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows of later stretches that repeat three or more consecutive earlier rows in all of OHLCV.

    Only bars count in which something was traded and the price moved: quiet markets repeat themselves honestly. Without
    volume nothing is found, since prices alone may coincide. Which of the two stretches is the true one can't be told from
    the prices; the later one is taken as the copy.
    """
    size = len(bars["close"])
    found = np.zeros(size, bool)
    moved = np.greater(bars["volume"], 0) & np.greater(bars["high"], bars["low"])
    if size < 2 * SHORTEST_COPY or not moved.any():
        return found
    row = pd.util.hash_array(bars["volume"])
    row *= np.uint64(0x9E3779B97F4A7C15)
    row += pd.util.hash_array(bars["close"])
    run = row[:-2] * np.uint64(0xC2B2AE3D27D4EB4F) + row[1:-1] * np.uint64(0x165667B19E3779F9) + row[2:]
    ordered = np.sort(run)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return found
    starts = np.flatnonzero(np.isin(run, twice))
    _, first, which = np.unique(run[starts], return_index=True, return_inverse=True)
    originals = starts[first[which]]
    copied = starts != originals
    for offset in range(SHORTEST_COPY):
        copied &= moved[starts + offset]
        for name in ("open", "high", "low", "close", "volume"):
            copied &= bars[name][starts + offset] == bars[name][originals + offset]
    for offset in range(SHORTEST_COPY):
        found[starts[copied] + offset] = True
    return found


def examples(bars: Mapping[str, np.ndarray], rows: np.ndarray) -> tuple[dict[str, Any], ...]:
    """The first few of some rows (a mask) as plain JSON data, NaN as None."""
    first = np.flatnonzero(rows)[:SHOWN]
    return tuple(
        {
            "timestamp": iso(int(bars["timestamp"][i])),
            **{
                name: float(bars[name][i]) if np.isfinite(bars[name][i]) else None
                for name in ("open", "high", "low", "close", "volume")
            },
        }
        for i in first
    )


def iso(stamp: int) -> str:
    """Nanoseconds since 1970 as people write them: `2019-10-17 09:00`, seconds only where there are any."""
    time = pd.Timestamp(stamp)
    return time.strftime("%Y-%m-%d %H:%M:%S" if time.second else "%Y-%m-%d %H:%M")
