"""The control: a series of the very same bars in random order, in which there is nothing to remember."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.bars.status import MISSING, STATUSES

if TYPE_CHECKING:
    import pandas as pd

_PRICES = ["open", "high", "low", "close"]


def shuffle_bars(bars: pd.DataFrame, first: int, seed: int) -> pd.DataFrame:
    """Put the bars from row `first` on into random order, each as its move from the close before it.

    A bar keeps its shape: open, high, low and close relative to the close before, its volume, and its realised variance.
    Log returns are thus permuted, the series ends at the same price, and every bar stays one (low ≤ open, close ≤ high).
    Timestamps and missing bars stay where they are; a bar after a gap counts from the last close that is there.

    Args:
        bars: canonical bars.
        first: first row that may change, at least 1; a bar before it must be there.
        seed: of the order.
    """
    there = np.flatnonzero(bars["status"].to_numpy() != STATUSES[MISSING])
    start = int(np.searchsorted(there, first))
    rows = there[start:]
    prices = np.log(bars[_PRICES].to_numpy(dtype=np.float64)[there[start - 1 :]])
    shapes = prices[1:] - prices[:-1, 3:]  # of open, high, low, close: the last is the log return
    order = np.random.default_rng(seed).permutation(len(rows))
    shapes = shapes[order]
    before = prices[0, 3] + np.concatenate([[0.0], np.cumsum(shapes[:-1, 3])])
    shuffled = bars.copy()
    for column, name in enumerate(_PRICES):
        shuffled[name] = _put(bars[name], rows, np.exp(before + shapes[:, column]))
    for name in bars.columns.difference([*_PRICES, "timestamp"]):
        shuffled[name] = _put(bars[name], rows, bars[name].to_numpy()[rows[order]])
    return shuffled


def _put(column: pd.Series, rows: np.ndarray, values: np.ndarray) -> pd.Series:
    changed = column.copy()
    changed.iloc[rows] = values
    return changed
