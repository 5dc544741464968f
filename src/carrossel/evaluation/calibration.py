"""Are quantiles and intervals as wide as they should be? And intervals for forecasts that come without."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carrossel.errors import ModelError
from carrossel.evaluation.rows import read_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from carrossel.evaluation.rows import Column

SCALE_DECAY = 0.94
"""Weight of the past in the scale of errors, by row: RiskMetrics' (J. P. Morgan 1996) for daily variances."""


def pinball(truth: Column, quantiles: Mapping[float, Column]) -> dict[float, float]:
    """Mean pinball loss of each quantile: lowest, on average, for the true one.

    Args:
        truth: [rows].
        quantiles: by level, each [rows].

    Raises:
        ModelError: if a level isn't between 0 and 1 or a value isn't finite.

    References:
        Koenker & Bassett (1978), Regression quantiles.
    """
    from sklearn.metrics import mean_pinball_loss

    losses = {}
    for level in sorted(quantiles):
        if not 0 < level < 1:
            raise ModelError(f"{level} isn't a quantile level: a number between 0 and 1 was expected.")
        came, quantile = read_columns({"the truth": truth, f"the quantile {level}": quantiles[level]})
        losses[level] = float(mean_pinball_loss(came, quantile, alpha=level))
    return losses


def crps(truth: Column, quantiles: Mapping[float, Column]) -> float:
    """Continuous ranked probability score, from a few quantiles: 2 ∫ pinball loss dτ as a sum over the levels.

    A level counts for the stretch of τ nearer to it than to another level. Compare scores only where the levels are the
    same: with 5, 25, 50, 75 and 95 % the sum is 3 % below the integral for a true normal distribution.

    Args:
        truth: [rows].
        quantiles: by level, each [rows].

    Raises:
        ModelError: if there is no quantile, a level isn't between 0 and 1 or a value isn't finite.

    References:
        Laio & Tamea (2007), Verification tools for probabilistic forecasts of continuous hydrological variables, and
        Gneiting & Ranjan (2011), Comparing density forecasts using threshold- and quantile-weighted scoring rules, for
        the score as an integral over quantiles.
    """
    if not quantiles:
        raise ModelError("there are no quantiles: a column for each level was expected. Take a head that has them.")
    losses = pinball(truth, quantiles)
    levels = np.array(list(losses))
    edges = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [1.0]])
    return float(2 * np.diff(edges) @ np.array(list(losses.values())))


def conformal_intervals(
    forecasts: pd.DataFrame,
    *,
    level: float = 0.9,
    gamma: float = 0.005,
    window: int | None = 500,
    normalised: bool = True,
) -> pd.DataFrame:
    """Intervals around point forecasts, as wide as past errors of the same forecaster were.

    A row's interval is ± the quantile of the absolute errors whose truth was known at its origin. The quantile's level
    moves up after each miss and down after each hit, which keeps coverage where errors change their nature:
    level_{t+1} = level_t + gamma · (missed_t − (1 − level)). A miss counts once its truth is known, as an error does.
    Where the moved level asks for an infinite interval it gets the largest error known.

    Args:
        forecasts: of one forecaster and one horizon, in time order, with `origin` and `time` (timestamps, or any numbers
            in that order) and `truth` and `forecast`. Rows of an earlier part of the series serve as past.
        level: share of truths that the intervals should hold.
        gamma: step of the level; 0 is split conformal on the errors remembered; the paper's is 0.005.
        window: errors remembered; None for all.
        normalised: errors count in units of their own exponentially weighted mean before that row, so that a calm past
            doesn't narrow a lively present.

    Returns:
        `lower` and `upper` with the forecasts' index; NaN where too few errors are known: the first ⌈level / (1 − level)⌉
        at least.

    Raises:
        ModelError: if rows aren't in time order, an origin comes twice, or a value isn't finite.

    References:
        Gibbs & Candès (2021), Adaptive conformal inference under distribution shift, equation 2.
        Lei, G'Sell, Rinaldo, Tibshirani & Wasserman (2018), Distribution-free predictive inference for regression,
        algorithm 2 and section 5.2 (locally weighted), for split conformal and its normalisation.
    """
    truth, forecast = read_columns({"the truth": forecasts["truth"], "the forecast": forecasts["forecast"]})
    known = _count_known(forecasts)
    error = np.abs(truth - forecast)
    scale = _scale_errors(error, known) if normalised else np.ones_like(error)
    usable = scale > 0
    score = np.divide(error, scale, out=np.full_like(error, np.nan), where=usable)

    half_width = np.full_like(error, np.nan)
    past = _Past(level, window)
    moved, learned = level, 0
    for row, rows_known in enumerate(known):
        for one in range(learned, rows_known):
            if np.isfinite(half_width[one]):
                moved += gamma * (float(error[one] > half_width[one]) - (1 - level))
            if usable[one]:
                past.remember(float(score[one]))
        learned = rows_known
        if usable[row]:
            half_width[row] = scale[row] * past.find_quantile(moved)
    return pd.DataFrame({"lower": forecast - half_width, "upper": forecast + half_width}, index=forecasts.index)


def coverage(truth: Column, lower: Column, upper: Column) -> float | None:
    """Share of truths within their interval, ends included; None if no row has an interval.

    Args:
        truth: [rows].
        lower, upper: the same rows; NaN where there is no interval, and such a row isn't counted.
    """
    inside = _check_inside(truth, lower, upper).dropna()
    return float(inside.mean()) if len(inside) else None


def coverage_by_fold(truth: Column, lower: Column, upper: Column, fold: pd.Series) -> dict[str, float]:
    """Coverage of each fold that has intervals, in the order of the rows.

    Args:
        truth: [rows].
        lower, upper: the same rows; NaN where there is no interval.
        fold: its name or number by row.
    """
    inside = _check_inside(truth, lower, upper)
    shares = inside.groupby(fold.to_numpy(), sort=False).mean().dropna()
    return {str(name): float(share) for name, share in shares.items()}


class _Past:
    """Scores remembered, in the order they came and by size."""

    def __init__(self, level: float, window: int | None) -> None:
        self.level = level
        self.window = window
        self.came: deque[float] = deque()
        self.ordered: list[float] = []

    def remember(self, score: float) -> None:
        if self.window is not None and len(self.came) == self.window:
            del self.ordered[bisect_left(self.ordered, self.came.popleft())]
        self.came.append(score)
        insort(self.ordered, score)

    def find_quantile(self, level: float) -> float:
        number = len(self.ordered)
        if _rank(self.level, number) > number:
            return float("nan")
        return self.ordered[min(max(_rank(level, number), 1), number) - 1]


def _rank(level: float, number: int) -> int:
    """Of `number` scores, the one that a further score stays below with that chance, if their order is by chance."""
    return math.ceil((number + 1) * level - 1e-9)  # 0.9 · 10 may come out a rounding error above 9


def _count_known(forecasts: pd.DataFrame) -> NDArray[np.intp]:
    """For each row, how many rows' truths were known at its origin, [rows]."""
    origin, time = pd.Index(forecasts["origin"]), pd.Index(forecasts["time"])
    for name, index in (("origin", origin), ("time", time)):
        if not (index.is_monotonic_increasing and index.is_unique):
            raise ModelError(
                f"`{name}` doesn't increase from row to row: one forecaster's rows of one horizon were expected, in time "
                "order. Select a model, seed and horizon, then sort by origin."
            )
    if not (time > origin).all():
        raise ModelError("a row's `time` isn't after its `origin`: forecasts of later bars were expected.")
    return np.asarray(time.searchsorted(origin, side="right"))


def _scale_errors(error: NDArray[np.float64], known: NDArray[np.intp]) -> NDArray[np.float64]:
    """The exponentially weighted mean of the errors known at each row's origin, [rows]; NaN where none is."""
    mean = pd.Series(error).ewm(alpha=1 - SCALE_DECAY).mean().to_numpy()
    return np.where(known > 0, mean[known - 1], np.nan)


def _check_inside(truth: Column, lower: Column, upper: Column) -> pd.Series:
    came, low, high = (np.asarray(column, dtype=np.float64) for column in (truth, lower, upper))
    inside = ((low <= came) & (came <= high)).astype(np.float64)
    return pd.Series(np.where(np.isnan(low) | np.isnan(high), np.nan, inside))
