"""What a unit may follow: four numbers of a window, from its own closes alone, and how closely one follows the other.

Throughout, `closes` are those of a window's bars, oldest first, shape [windows, lookback]. Nothing here looks past the
window's last bar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Values = NDArray[np.float64]


def window_return(closes: Values) -> Values:
    """ln(close_T / close_1), from the window's first bar to its last."""
    found: Values = np.log(closes[:, -1] / closes[:, 0])
    return found


def volatility(closes: Values) -> Values:
    """Standard deviation of the log returns within the window, per bar."""
    found: Values = np.diff(np.log(closes), axis=1).std(axis=1)
    return found


def drawdown(closes: Values) -> Values:
    """1 − close_T / the window's highest close: 0 at the maximum."""
    found: Values = 1 - closes[:, -1] / closes.max(axis=1)
    return found


def time_since_maximum(closes: Values) -> Values:
    """Bars since the window's highest close, the newest of equal ones: 0 at the maximum."""
    found: Values = np.argmax(closes[:, ::-1], axis=1).astype(np.float64)
    return found


QUANTITIES: Mapping[str, Callable[[Values], Values]] = {
    "return": window_return,
    "volatility": volatility,
    "drawdown": drawdown,
    "time_since_maximum": time_since_maximum,
}


def measure_windows(close: Values, lookback: int, origins: NDArray[np.int64]) -> Values:
    """Every quantity of the windows that end at `origins`.

    Args:
        close: of all bars, shape [time].

    Returns:
        Shape [windows, quantities], in the order of `QUANTITIES`.
    """
    closes = np.lib.stride_tricks.sliding_window_view(close, lookback)[origins - (lookback - 1)]
    return np.stack([formula(closes) for formula in QUANTITIES.values()], axis=1)


def rank_correlations(units: Values, quantities: Values) -> Values:
    """Spearman's ρ of every unit with every quantity: whether one rises with the other, in a line or not.

    Args:
        units: shape [windows, units].
        quantities: shape [windows, quantities].

    Returns:
        Shape [units, quantities]; NaN where one of the two never changes.

    References:
        Spearman (1904), The proof and measurement of association between two things; ties get their mean rank.
    """
    first, second = (_standardise(np.asarray(rankdata(each, axis=0), np.float64)) for each in (units, quantities))
    found: Values = np.clip(first.T @ second, -1, 1)
    return found


def _standardise(ranks: Values) -> Values:
    centred = ranks - ranks.mean(axis=0)
    norm = np.sqrt(np.square(centred).sum(axis=0))
    found: Values = np.divide(centred, norm, out=np.full_like(centred, np.nan), where=norm > 0)
    return found
