from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from carrossel.errors import ModelError
from carrossel.evaluation.echo import find_echo

EXACT = {"rel": 1e-12}  # a handful of float64 operations


def walk(seed: int, rows: int = 1000) -> np.ndarray:
    return 100 + np.cumsum(np.random.default_rng(seed).normal(size=rows))


def frame(prices: np.ndarray, forecast: np.ndarray, horizon: int = 1, skip: int = 5) -> pd.DataFrame:
    """Rows from bar `skip` on; `forecast` [time] stands at the bar forecast."""
    return pd.DataFrame(
        {"truth": prices[skip:], "forecast": forecast[skip:], "unchanged": prices[skip - horizon : -horizon]}
    )


def lag(prices: np.ndarray, bars: int) -> np.ndarray:
    return np.roll(prices, bars)  # the first `bars` values are the last ones: `frame` leaves them out


@pytest.mark.parametrize("seed", range(20))
def test_a_one_lag_copycat_on_a_random_walk_is_an_echo(seed: int) -> None:
    prices = walk(seed)
    persistence = find_echo(frame(prices, lag(prices, 1)))
    assert persistence.is_echo
    assert (persistence.skill, persistence.beta, persistence.peak) == (0, 0, 1)
    assert persistence.correlations[1] == pytest.approx(1, **EXACT)
    noise = np.random.default_rng(100 + seed).normal(scale=0.3, size=len(prices))
    noisy = find_echo(frame(prices, lag(prices, 1) + noise))
    assert noisy.is_echo
    assert noisy.peak == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_copycat_of_two_bars_ago_is_an_echo(seed: int) -> None:
    prices = walk(seed)
    found = find_echo(frame(prices, lag(prices, 2)))
    assert found.is_echo
    assert found.peak == 2


@pytest.mark.parametrize("seed", range(20))
def test_a_forecast_that_knows_something_is_no_echo(seed: int) -> None:
    prices = walk(seed)
    unchanged = lag(prices, 1)
    noise = np.random.default_rng(100 + seed).normal(size=len(prices))
    good = find_echo(frame(prices, unchanged + 0.3 * (prices - unchanged) + 0.2 * noise))
    assert not good.is_echo
    assert good.skill > 0


def test_a_bad_forecast_that_does_not_repeat_the_past_is_no_echo() -> None:
    prices = walk(0)
    noise = np.random.default_rng(1).normal(scale=3, size=len(prices))
    found = find_echo(frame(prices, prices + noise))
    assert found.skill < 0
    assert found.peak == 0
    assert not found.is_echo


def test_one_number_for_all_rows_has_no_peak_and_is_no_echo() -> None:
    prices = walk(0)
    found = find_echo(frame(prices, np.full(len(prices), 100.0)))
    assert set(found.correlations) == {None}
    assert found.peak is None
    assert not found.is_echo


@pytest.mark.parametrize("horizon", [3, 24])
def test_a_copycat_of_any_horizon_peaks_one_horizon_ago(horizon: int) -> None:
    prices = walk(0, 3000)
    found = find_echo(frame(prices, lag(prices, horizon), horizon, skip=horizon), horizon=horizon, lags=4)
    assert found.is_echo
    assert found.peak == 1
    assert len(found.correlations) == 5
    assert found.correlations[1] == pytest.approx(1, **EXACT)


def test_slope_skill_and_correlation_equal_their_values_by_hand() -> None:
    rows = pd.DataFrame(
        {"unchanged": [0.0, 1.0, 3.0, 2.0], "truth": [1.0, 3.0, 2.0, 4.0], "forecast": [1.0, 2.0, 3.0, 3.0]}
    )
    # true changes 1 2 −1 2 (mean 1), forecast changes 1 1 0 1 (mean ¾); centred 0 1 −2 1 and ¼ ¼ −¾ ¼
    found = find_echo(rows, lags=3)
    assert found.skill == pytest.approx(1 - 3 / 10, **EXACT)
    assert found.beta == pytest.approx(2 / 6, **EXACT)
    # of rows: forecast changes 1 1 0, true changes 2 −1 2; k = 0: centred ⅓ ⅓ −⅔ and 1 −2 1; k = 1: (1, 0) with (2, −1)
    assert found.correlations == (pytest.approx(-0.5, **EXACT), pytest.approx(1, **EXACT), None, None)
    assert found.peak == 1
    assert not found.is_echo  # for it has skill


def test_steady_changes_have_no_slope() -> None:
    ramp = np.arange(50.0)
    found = find_echo(frame(ramp, lag(ramp, 1)))
    assert found.beta is None
    assert not found.is_echo


def test_rows_without_change_or_too_few_of_them_are_an_error() -> None:
    still = pd.DataFrame({"truth": [5.0, 5.0], "forecast": [5.0, 6.0], "unchanged": [5.0, 5.0]})
    with pytest.raises(ModelError, match=r"nothing changes in any of 2 rows.*skill is undefined"):
        find_echo(still)
    with pytest.raises(ModelError, match=r"2 rows are too few for changes over 2 bars"):
        find_echo(still, horizon=2)
