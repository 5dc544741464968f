"""Variance of a bar: worked by hand, and against simulated Brownian motion."""

import numpy as np
import pytest

from carrossel.errors import BarsError
from carrossel.targets.variance import bar_variance, floored

LN2 = np.log(2)


def bars(**logs):
    return {name: np.exp(np.array(values, dtype=float)) for name, values in logs.items()}


def brownian(paths=20_000, steps=64, deviation=0.02, seed=0):
    """Bars of driftless Brownian motions that open at 1, their extremes seen without pause.

    Between two points of a path the extremes are drawn from their law on the Brownian bridge (Glasserman 2004, section 6.4).
    """
    rng = np.random.default_rng(seed)
    move = rng.normal(0, deviation / np.sqrt(steps), (paths, steps))
    end = np.cumsum(move, axis=1)
    twice = 2 * deviation**2 / steps
    reach = (np.sqrt(move**2 + twice * rng.exponential(size=(2, paths, steps))) + [[[1]], [[-1]]] * move) / 2
    return {
        "open": np.ones(paths),
        "high": np.exp((end - move + reach[0]).max(axis=1)),
        "low": np.exp((end - move - reach[1]).min(axis=1)),
        "close": np.exp(end[:, -1]),
    }


def test_by_hand():
    one = bars(open=[0, 0], high=[2, 1], low=[-1, 0], close=[1, 1])
    np.testing.assert_allclose(bar_variance(one, "parkinson"), [9 / (4 * LN2), 1 / (4 * LN2)], rtol=1e-14)
    np.testing.assert_allclose(bar_variance(one, "garman_klass"), [4.5 - (2 * LN2 - 1), 1.5 - 2 * LN2], rtol=1e-14)


@pytest.mark.parametrize(("estimator", "spread"), [("parkinson", 0.64), ("garman_klass", 0.52)])
def test_the_mean_over_brownian_motions_is_their_variance(estimator, spread):
    ratio = bar_variance(brownian(), estimator) / 0.02**2
    # The deviation of one estimate is √0.407 = 0.64 of the variance (Parkinson) or √0.27 = 0.52 (Garman-Klass): 1 / 4.9 and 1 / 7.4
    # of the squared return's 2. Three standard errors of 20 000.
    assert ratio.mean() == pytest.approx(1, abs=3 * spread / np.sqrt(20_000))
    assert ratio.std() == pytest.approx(spread, rel=0.05)


def test_a_bar_that_moves_one_way_never_has_a_negative_variance():
    steep = bars(open=[0, 1], high=[1, 1], low=[0, 0], close=[1, 0])
    assert (bar_variance(steep, "garman_klass") > 0).all()


def test_the_column_of_finer_bars_comes_first_and_alone():
    columns = {**bars(open=[0, 0], high=[1, 1], low=[0, 0], close=[1, 1]), "realised_variance": np.array([7.0, np.nan])}
    np.testing.assert_array_equal(bar_variance(columns), [7, np.nan])
    np.testing.assert_array_equal(bar_variance(columns, "realised"), [7, np.nan])
    assert np.isfinite(bar_variance(columns, "garman_klass")).all()


def test_without_open_the_range_serves():
    whole = bars(open=[0, np.nan], high=[1, 1], low=[0, 0], close=[1, 1])
    lacking = {name: whole[name] for name in ("high", "low", "close")}
    by_range = bar_variance(whole, "parkinson")
    np.testing.assert_array_equal(bar_variance(lacking), by_range)
    np.testing.assert_array_equal(bar_variance(whole), [bar_variance(whole, "garman_klass")[0], by_range[1]])


def test_a_missing_bar_has_none():
    gone = bars(open=[np.nan], high=[np.nan], low=[np.nan], close=[np.nan])
    assert np.isnan(bar_variance(gone)).all()


def test_asking_for_finer_bars_that_are_not_there_says_where_they_come_from():
    with pytest.raises(BarsError, match=r"no column realised_variance: prepare adds it where datasets\.\*\.resample"):
        bar_variance(bars(open=[0], high=[1], low=[0], close=[1]), "realised")


def test_a_variance_below_a_hundredth_of_a_percent_squared_counts_as_that():
    values = np.array([0, np.nan, 3e-4, 1e-9, 1e-8])
    np.testing.assert_array_equal(floored(values), [1e-8, np.nan, 3e-4, 1e-8, 1e-8])


def test_the_floor_doesnt_depend_on_the_past_in_sight():
    values = np.array([1e-9, 3e-4, 0.0, 2e-4])
    np.testing.assert_array_equal(floored(values)[2:], floored(values[2:]))
