"""Is the lower loss luck? Tests on loss differences and intervals for skill; every draw comes from a seed given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from carrossel.errors import ModelError
from carrossel.evaluation.rows import read_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from carrossel.evaluation.rows import Column

LEVEL = 0.05
"""Of every test here: how often chance alone may win."""

_LAGS_PER_BAR = 3
_SHORTEST_FOR_BLOCKS = 12  # the block-length rule needs autocorrelations up to lag ⌈√n⌉ + 5


@dataclass(frozen=True)
class DieboldMariano:
    """What the test says about a forecast beside its reference.

    Attributes:
        statistic: Student's t with rows − 1 degrees of freedom if both are equally good; negative where the forecast is
            better; None where the difference doesn't vary.
        p_better: one-sided: the chance of a statistic this low if the forecast is no better than the reference.
        p_two_sided: the chance of a statistic this far from 0 if both are equally good.
        mean: of the loss difference, loss units; negative where the forecast is better.
        lags: autocovariances in the HAC variance.
        rows: loss differences tested.
    """

    statistic: float | None
    p_better: float
    p_two_sided: float
    mean: float
    lags: int
    rows: int


def diebold_mariano(loss_difference: Column, horizon: int) -> DieboldMariano:
    """Are these losses lower than the reference's by more than luck?

    A difference that is 0 in every row is no evidence: both p-values are 1. One that is the same number in every row is
    decided by its sign, the limit of the statistic.

    Args:
        loss_difference: loss of the forecast − loss of the reference, in time order, [rows].
        horizon: bars ahead, ≥ 1; overlapping forecasts have correlated losses.

    Raises:
        ModelError: if values aren't finite or there are no more rows than the horizon.

    References:
        Diebold & Mariano (1995), Comparing predictive accuracy, S1, with Newey & West's (1987) variance of
        max(3(h − 1), ⌈n^⅓⌉) lags in place of the truncated one, which can be negative.
        Harvey, Leybourne & Newbold (1997), Testing the equality of prediction mean squared errors, equations 8 and 9.
    """
    from scipy.stats import t
    from statsmodels.tsa.stattools import diebold_mariano_test

    (difference,) = read_columns({"the loss difference": loss_difference})
    rows = difference.size
    if rows <= max(horizon, 1):
        raise ModelError(
            f"{rows} rows are too few to test forecasts {horizon} bars ahead: more rows than bars ahead were expected. "
            "Take a longer test part or a shorter windows.horizon."
        )
    mean = float(difference.mean())
    lags = _count_lags(rows, horizon)
    if np.ptp(difference) == 0:
        one_sided = 0.0 if mean < 0 else 1.0
        return DieboldMariano(None, one_sided, 1.0 if mean == 0 else 0.0, mean, lags, rows)
    result = diebold_mariano_test(
        np.zeros(rows), difference, np.zeros(rows), lags=lags, criterion=_take_as_loss, harvey_adj=True, horizon=horizon
    )
    statistic = float(result.statistic)
    return DieboldMariano(statistic, float(t.cdf(statistic, df=rows - 1)), float(result.pvalue), mean, lags, rows)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number: under 5 % for any true null at most 5 % of the time, dependent or not.

    Raises:
        ModelError: if a p-value isn't within 0 … 1.

    References:
        Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return {}
    for name, p in p_values.items():
        if not 0 <= p <= 1:
            raise ModelError(f"p-value {p} of {name} isn't within 0 … 1; a test without a statistic has p-value 1.")
    corrected = multipletests(list(p_values.values()), method="holm")[1]
    return {name: float(p) for name, p in zip(p_values, corrected, strict=True)}


@dataclass(frozen=True)
class ConfidenceSet:
    """The competitors among which the best one is, with probability 1 − level.

    Attributes:
        p_values: by competitor: the smallest level at which it leaves the set; the last to stay has 1.
        included: those with a p-value above the level, in the order of the losses' columns.
        block_length: mean rows of a bootstrap block.
    """

    p_values: dict[str, float]
    included: tuple[str, ...]
    block_length: int


def model_confidence_set(
    losses: pd.DataFrame, *, seed: int, horizon: int = 1, level: float = LEVEL, reps: int = 1000
) -> ConfidenceSet:
    """Who can't be told from the best?

    Competitors with the very same losses share one place: their differences have no variance to divide by.

    Args:
        losses: a column for each competitor, a row for each forecast, in time order.
        seed: of the stationary bootstrap.
        horizon: bars ahead; blocks are at least this long.
        level: chance of a set without the best one.
        reps: bootstrap samples.

    Raises:
        ModelError: if a loss isn't finite or there is no competitor.

    References:
        Hansen, Lunde & Nason (2011), The model confidence set, statistic T_R (section 3.1.2).
        Politis & Romano (1994), The stationary bootstrap.
    """
    from arch.bootstrap import MCS

    names = [str(name) for name in losses.columns]
    if not names:
        raise ModelError("there are no losses: a column for each competitor was expected.")
    table = np.column_stack(read_columns({name: losses.iloc[:, i] for i, name in enumerate(names)}))
    distinct, place = np.unique(table, axis=1, return_inverse=True)
    block = choose_block_length(distinct - distinct.mean(axis=1, keepdims=True), horizon)
    if distinct.shape[1] == 1:
        return ConfidenceSet(dict.fromkeys(names, 1.0), tuple(names), block)
    test = MCS(distinct, size=level, reps=reps, block_size=block, method="R", bootstrap="stationary", seed=seed)
    # two losses that differ by the same number in every row: their difference over no variance is ∞, and the worse leaves
    with np.errstate(divide="ignore", invalid="ignore"):
        test.compute()
    by_place = test.pvalues["Pvalue"]
    p_values = {name: float(by_place.loc[place.ravel()[i]]) for i, name in enumerate(names)}
    return ConfidenceSet(p_values, tuple(name for name in names if p_values[name] > level), block)


@dataclass(frozen=True)
class SuperiorPredictiveAbility:
    """Does the best of all competitors beat the reference by more than the best of so many would by luck?

    Attributes:
        p: Hansen's consistent p-value: the chance of a best this good if none is better than the reference.
        p_lower, p_upper: its bounds; the upper one is White's reality check, which hopeless competitors weaken.
        best: the competitor furthest ahead in standard errors; None if all have the reference's losses.
        block_length: mean rows of a bootstrap block.
    """

    p: float
    p_lower: float
    p_upper: float
    best: str | None
    block_length: int


def superior_predictive_ability(
    reference_loss: Column, losses: pd.DataFrame, *, seed: int, horizon: int = 1, reps: int = 1000
) -> SuperiorPredictiveAbility:
    """Is any competitor better than the reference, all that were tried counted?

    A competitor with the reference's very losses can't be better and is left out.

    Args:
        reference_loss: [rows], in time order.
        losses: a column for each competitor tried, the same rows.
        seed: of the stationary bootstrap.
        horizon: bars ahead; blocks are at least this long.
        reps: bootstrap samples.

    Raises:
        ModelError: if a loss isn't finite or lengths differ.

    References:
        Hansen (2005), A test for superior predictive ability, statistic T^SPA with the p-values SPA_l, SPA_c and SPA_u,
        studentised by Newey & West's (1987) variance; White (2000), A reality check for data snooping.
    """
    from arch.bootstrap import SPA
    from arch.covariance.kernel import Bartlett

    reference, *columns = read_columns(
        {"the reference": reference_loss, **{str(name): losses[name] for name in losses.columns}}
    )
    ahead = {
        str(name): reference - column
        for name, column in zip(losses.columns, columns, strict=True)
        if not np.array_equal(reference, column)
    }
    if not ahead:
        return SuperiorPredictiveAbility(1.0, 1.0, 1.0, None, max(horizon, 1))
    table = np.column_stack(list(ahead.values()))
    rows = len(table)
    block = choose_block_length(table, horizon)
    lags = _count_lags(rows, horizon)
    variance = np.array([np.asarray(Bartlett(column, lags).cov.long_run)[0, 0] for column in table.T])
    # arch 8.0's SPA takes `studentize` but compares means, so differences go in divided by their standard deviation.
    # Without variance there is nothing to divide by, and the sign alone decides.
    table = table / np.sqrt(np.where(variance > 0, variance, 1.0))
    lead = table.mean(axis=0)
    best = list(ahead)[int(np.argmax(lead))]
    if lead.max() <= 0:  # Hansen's statistic is then 0, the lowest there is; arch's would be below and count as rare
        return SuperiorPredictiveAbility(1.0, 1.0, 1.0, best, block)
    test = SPA(np.zeros(rows), -table, reps=reps, block_size=block, bootstrap="stationary", seed=seed)
    test.compute()
    lower, consistent, upper = (float(test.pvalues[name]) for name in ("lower", "consistent", "upper"))
    return SuperiorPredictiveAbility(consistent, lower, upper, best, block)


@dataclass(frozen=True)
class SkillInterval:
    """Skill with its confidence interval.

    Attributes:
        skill: 1 − mean loss / mean loss of the reference.
        lower, upper: percentiles of the bootstrapped skill.
        block_length: mean rows of a bootstrap block.
    """

    skill: float
    lower: float
    upper: float
    block_length: int


def bootstrap_skill(
    loss: Column, reference_loss: Column, *, seed: int, horizon: int = 1, confidence: float = 0.95, reps: int = 1000
) -> SkillInterval:
    """Skill, and the range that holds it with the given confidence.

    Both losses are resampled together, in blocks as long as the rows' dependence asks for.

    Args:
        loss: of the forecast, ≥ 0, in time order, [rows].
        reference_loss: of the reference, the same rows.
        seed: of the stationary bootstrap.
        horizon: bars ahead; blocks are at least this long.
        confidence: share of intervals that hold the true skill.
        reps: bootstrap samples; those in which the reference makes no error have no skill and are left out.

    Raises:
        ModelError: if the reference makes no error, since skill is then undefined, or a loss isn't finite.

    References:
        Politis & Romano (1994), The stationary bootstrap; Politis & White (2004) and Patton, Politis & White (2009),
        Automatic block-length selection for the dependent bootstrap, for the length of its blocks.
    """
    from arch.bootstrap import StationaryBootstrap

    own, reference = read_columns({"the loss": loss, "the reference's loss": reference_loss})
    if reference.mean() <= 0:
        raise ModelError(
            f"the reference makes no error in any of {reference.size} rows, so skill is undefined. Check the bars of "
            "this part, or choose other shares in windows.train and windows.validation."
        )
    ratio = own.mean() / reference.mean()
    # what moves the ratio, to first order
    block = choose_block_length((own - ratio * reference)[:, None], horizon)
    bootstrap = StationaryBootstrap(block, own, reference, seed=seed)
    means = bootstrap.apply(lambda a, b: np.array([a.mean(), b.mean()]), reps)
    means = means[means[:, 1] > 0]
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(1 - means[:, 0] / means[:, 1], [tail, 1 - tail])
    return SkillInterval(float(1 - ratio), float(lower), float(upper), block)


def choose_block_length(columns: NDArray[np.float64], horizon: int) -> int:
    """Mean rows of a stationary bootstrap's blocks: what the most dependent column asks for, at least the horizon.

    Args:
        columns: [rows, series].
        horizon: bars ahead; forecasts that overlap belong into one block.

    References:
        Politis & White (2004) and Patton, Politis & White (2009), for the stationary bootstrap.
    """
    from arch.bootstrap import optimal_block_length

    rows = len(columns)
    varying = columns[:, np.ptp(columns, axis=0) > 0]
    if rows < _SHORTEST_FOR_BLOCKS or not varying.size:
        return max(horizon, 1)
    # a column that is 0 but for a few rows divides 0 by 0 at long lags, which counts as no correlation
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = optimal_block_length(varying)["stationary"].to_numpy()
    return max(horizon, int(np.ceil(lengths[np.isfinite(lengths)].max(initial=1.0))))


def _take_as_loss(_truth: NDArray[np.float64], loss: NDArray[np.float64]) -> NDArray[np.float64]:
    return loss


def _count_lags(rows: int, horizon: int) -> int:
    # Bartlett's weights at h − 1 lags would see two thirds of the variance of overlapping forecasts; at 3(h − 1), nine tenths.
    return min(max(_LAGS_PER_BAR * (horizon - 1), int(np.ceil(rows ** (1 / 3)))), rows - 1)
