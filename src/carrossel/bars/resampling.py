"""Longer bars out of shorter ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carrossel.bars.grid import Grid

Price = Literal["last", "mean"]
REALISED_VARIANCE = "realised_variance"
_LEAST_COVERAGE = 0.5


def resample(
    bars: Mapping[str, np.ndarray], source: Grid, target: Grid, price: Price = "last", steps: Grid | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Aggregate observed bars: first open, highest high, lowest low, last close, sum of the volumes.

    An interval whose beginning or end the series doesn't reach isn't a bar, so the first and the last one may fall away. Inside, an
    interval with at least one observed bar is one. A volume is NaN where the source has none in the whole interval.

    Args:
        bars: sorted, without gaps' rows: timestamp (int64 ns, the grid `source`), open, high, low, close, volume.
        price: what `close` is: the last close, or the mean of the closes (the lecture's daily mean), which lies
            between low and high as a close must.
        steps: grid of the returns behind the realised variance, between `source` and `target`; none: `source`.

    Returns:
        The aggregated bars with their realised_variance, and how many source bars each is made of.
    """
    stamps = bars["timestamp"]
    places = source.place(stamps)
    starts = source.start(places)
    group = target.containing(starts)
    first = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    which = group[first]
    counts = np.diff(first, append=len(group))
    last = first + counts - 1

    volume, known = bars["volume"], np.isfinite(bars["volume"])
    total = np.add.reduceat(np.where(known, volume, 0.0), first)
    close = bars["close"][last]
    if price == "mean":
        close = np.add.reduceat(bars["close"], first) / counts
    result = {
        "timestamp": target.label(which),
        "open": bars["open"][first],
        "high": np.maximum.reduceat(bars["high"], first),
        "low": np.minimum.reduceat(bars["low"], first),
        "close": close,
        "volume": np.where(np.add.reduceat(known.astype(np.int64), first) > 0, total, np.nan),
    }
    result[REALISED_VARIANCE] = _realised_variance(bars, starts, steps or source, target)
    # A mean of equal numbers may leave their range by rounding.
    result["close"] = np.clip(result["close"], result["low"], result["high"])

    begins = 1 if starts[0] > target.start(which[:1])[0] else 0
    ends = len(which) - (1 if source.end(places[-1:])[0] < target.end(which[-1:])[0] else 0)
    kept = slice(begins, max(begins, ends))
    return {name: values[kept] for name, values in result.items()}, counts[kept]


def _realised_variance(bars: Mapping[str, np.ndarray], starts: np.ndarray, steps: Grid, target: Grid) -> np.ndarray:
    """Sum of the squared log returns from step to step within each bar of `target` that has at least one source bar.

    A step's price is the last close in it. The bar's first return starts at the close before if the step before is there and
    ends where this bar's first one begins, across the bars' border; else, after a night or a gap, at the bar's own open. Over
    a gap inside of the bar runs one return from the last price known (previous-tick sampling, Hansen & Lunde 2006), which
    misses the way there and back: a bar with fewer than half its steps has no value, NaN.

    Args:
        starts: first nanosecond of each source bar.
    """
    step = steps.containing(starts)
    first = np.flatnonzero(np.diff(step, prepend=step[0] - 1))
    last = np.append(first[1:], len(step)) - 1
    step = step[first]
    begin = steps.start(step)
    price = np.log(bars["close"][last])
    before = np.append(np.nan, price[:-1])

    bar = target.containing(begin)
    opening = np.flatnonzero(np.diff(bar, prepend=bar[0] - 1))
    joined = np.append(False, steps.end(step)[:-1] == begin[1:])[opening]
    before[opening] = np.where(joined, before[opening], np.log(bars["open"][first[opening]]))

    total = np.add.reduceat((price - before) ** 2, opening)
    present = np.diff(opening, append=len(bar))
    bar = bar[opening]
    possible = steps.containing(target.end(bar) - 1) - steps.containing(target.start(bar)) + 1
    return np.where(present >= _LEAST_COVERAGE * possible, total, np.nan)
