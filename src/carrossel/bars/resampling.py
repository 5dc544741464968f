"""Longer bars out of shorter ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carrossel.bars.grid import Grid

Price = Literal["last", "mean"]


def resample(
    bars: Mapping[str, np.ndarray], source: Grid, target: Grid, price: Price = "last"
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Aggregate observed bars: first open, highest high, lowest low, last close, sum of the volumes.

    An interval whose beginning or end the series doesn't reach isn't a bar, so the first and the last one may fall away. Inside, an
    interval with at least one observed bar is one. A volume is NaN where the source has none in the whole interval.

    Args:
        bars: sorted, without gaps' rows: timestamp (int64 ns, the grid `source`), open, high, low, close, volume.
        price: what `close` is: the last close, or the mean of the closes (the lecture's daily mean), which lies
            between low and high as a close must.

    Returns:
        The aggregated bars, and how many source bars each is made of.
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
    # A mean of equal numbers may leave their range by rounding.
    result["close"] = np.clip(result["close"], result["low"], result["high"])

    begins = 1 if starts[0] > target.start(which[:1])[0] else 0
    ends = len(which) - (1 if source.end(places[-1:])[0] < target.end(which[-1:])[0] else 0)
    kept = slice(begins, max(begins, ends))
    return {name: values[kept] for name, values in result.items()}, counts[kept]
