"""Features of variance and calendar, by hand."""

import numpy as np
import pandas as pd
import pytest

from carrossel.targets.variance import bar_variance
from carrossel.windows.features import FEATURES, bars_before, compute_features
from carrossel.windows.features.periods import bars_in_periods
from walks import make_bars


def stamps(start, periods, step, **kwargs):
    return pd.date_range(start, periods=periods, freq=step, **kwargs).to_numpy().astype("datetime64[ns]")


def daily(variances, freq="B"):
    """Daily bars of given realised variances."""
    bars = make_bars(len(variances)).assign(realised_variance=variances)
    bars["timestamp"] = pd.date_range("2024-01-01", periods=len(bars), freq=freq, tz="UTC", unit="ns")
    bars.loc[bars["realised_variance"].isna(), ["open", "high", "low", "close", "volume"]] = np.nan
    return bars


def feature(bars, name):
    return compute_features(bars, (name,))[:, 0]


def test_a_day_a_week_and_a_month_of_an_exchange_are_1_5_and_22_days():
    variances = np.arange(1.0, 31)
    bars = daily(variances)
    for period, days in (("day", 1), ("week", 5), ("month", 22)):
        # The mean of consecutive whole numbers that end at 30.
        assert np.exp(feature(bars, f"realised_volatility_{period}")[-1]) == pytest.approx(
            30 - (days - 1) / 2, rel=1e-12
        )


def test_a_mean_takes_at_least_half_of_its_bars():
    found = feature(daily([1, 2, 3, 4, 5.0]), "realised_volatility_week")
    np.testing.assert_allclose(np.exp(found), [np.nan, np.nan, 2, 2.5, 3], rtol=1e-12)


def test_means_of_logarithms_are_logarithms_of_geometric_means():
    found = feature(daily([1, 2, 4, 8, 16.0]), "log_variance_week")
    np.testing.assert_allclose(np.exp(found[2:]), [2, 2 * 2**0.5, 4], rtol=1e-12)


def test_a_missing_bar_has_no_value_and_is_left_out_of_later_means():
    found = feature(daily([1, 2, 3, np.nan, 5, 6.0]), "realised_volatility_week")
    np.testing.assert_allclose(np.exp(found[2:]), [2, np.nan, 11 / 4, 16 / 4], rtol=1e-12)


def test_a_bar_without_range_has_the_least_variance_whatever_came_before():
    bars = daily([0, 4, 0, 2, 0])
    np.testing.assert_allclose(np.exp(feature(bars, "log_variance")), [1e-8, 4, 1e-8, 2, 1e-8], rtol=1e-12)
    np.testing.assert_allclose(np.exp(feature(bars, "realised_volatility_day")), [1e-8, 4, 1e-8, 2, 1e-8], rtol=1e-12)


def test_without_finer_bars_the_prices_tell_the_variance():
    bars = make_bars(30)
    prices = {name: bars[name].to_numpy() for name in ("open", "high", "low", "close")}
    for name, estimator in (("log_variance", "garman_klass"), ("parkinson", "parkinson")):
        np.testing.assert_array_equal(feature(bars, name), np.log(bar_variance(prices, estimator)))


def test_an_absolute_return_is_the_returns_size():
    bars = make_bars(30)
    np.testing.assert_array_equal(feature(bars, "absolute_return"), np.abs(feature(bars, "log_return")))


def test_a_log_variance_above_the_weeks_is_what_exceeds_its_mean():
    # Powers of two: 0, 1, 2, 3, 4 times ln 2, of which the mean so far is taken off.
    found = feature(daily([1, 2, 4, 8, 16.0]), "log_variance_above_week")
    np.testing.assert_allclose(found / np.log(2), [np.nan, np.nan, 1, 1.5, 2], rtol=1e-12)


def test_a_day_above_the_week_is_the_difference_of_their_means():
    # Half days: the last two exponents 12 and 13 have mean 12.5, the fourteen of the week 6.5.
    found = feature(daily(2.0 ** np.arange(14), freq="12h"), "log_variance_day_above_week")
    assert found[-1] / np.log(2) == pytest.approx(6, rel=1e-12)
    assert np.isfinite(found).sum() == 8  # a week's mean takes half of its fourteen bars


def test_a_return_in_deviations_is_one_where_the_price_moves_by_the_weeks_usual_root():
    bars = daily([4e-4] * 5).assign(close=100 * np.exp(0.02 * np.array([0, 1, 0, 0, -2])))
    # The usual bar's variance is 4e-4, so its deviation is 0.02; differences of logarithms near 4.6 lose three digits.
    np.testing.assert_allclose(
        feature(bars, "return_in_deviations_week"), [np.nan, np.nan, -1, 0, -2], rtol=1e-12, atol=1e-12
    )


def test_log_volumes_beside_the_weeks_by_hand():
    bars = daily([1.0] * 6)
    bars["volume"] = [*np.expm1([0.0, 1, 2, 3, 4]), np.nan]
    np.testing.assert_allclose(feature(bars, "log_volume"), [0, 1, 2, 3, 4, np.nan], rtol=1e-12)
    np.testing.assert_allclose(feature(bars, "log_volume_above_week"), [np.nan, np.nan, 1, 1.5, 2, np.nan], rtol=1e-12)


def test_a_bar_without_a_move_has_the_logarithm_of_a_basis_point():
    bars = daily([1.0] * 3).assign(close=[100, 100, 100 * np.exp(-9e-4)])
    found = feature(bars, "log_absolute_return")
    np.testing.assert_allclose(np.exp(found), [np.nan, 1e-4, 1e-3], rtol=1e-9)  # 1e-12 / 1e-4: a logarithm's rounding


@pytest.mark.parametrize(
    ("names", "bars"),
    [
        (("close",), 1),
        (("log_return", "month_sin"), 1),
        (("log_variance_day", "log_return"), 24),
        (("log_variance_day_above_week",), 168),
        (("return_in_deviations_week", "log_volume"), 168),
        (("log_variance_day_above_week", "log_variance_month"), 720),
    ],
)
def test_a_name_says_how_far_back_its_feature_looks(names, bars):
    assert bars_before(names, stamps("2024-01-01", 24 * 9, "h")) == bars


@pytest.mark.parametrize("name", FEATURES)
def test_no_feature_looks_further_back_than_its_name_says(name):
    bars = make_bars(24 * 32)
    last = len(bars) - 1
    first = last - bars_before((name,), bars["timestamp"].dt.tz_convert(None).to_numpy())
    changed = bars.copy()
    for column, factor in {"open": 1.1, "high": 1.5, "low": 0.9, "close": 1.2, "volume": 3}.items():
        changed[column] = bars[column].where(bars.index >= first, factor * bars[column])
    # A rolling mean adds and drops, so what left it can still show in the last digits.
    np.testing.assert_allclose(feature(changed, name)[-1], feature(bars, name)[-1], rtol=1e-9)


def test_calendar_by_hand():
    bars = make_bars(1)
    # A Thursday in April at six: a quarter of the day, 3 of 7 weekdays, a quarter of the year.
    bars["timestamp"] = pd.to_datetime(["2024-04-04 06:00"], utc=True).as_unit("ns")
    row = {name: feature(bars, name)[0] for name in FEATURES if name.endswith(("_sin", "_cos"))}
    week = 2 * np.pi * 3 / 7
    expected = {"hour_sin": 1, "hour_cos": 0, "weekday_sin": np.sin(week), "weekday_cos": np.cos(week)}
    assert row == pytest.approx({**expected, "month_sin": 1, "month_cos": 0}, abs=1e-15)


@pytest.mark.parametrize(
    ("times", "day", "week", "month"),
    [
        (stamps("2024-01-01 05:00", 24 * 9, "h"), 24, 168, 720),
        (stamps("2024-01-05", 9, "D"), 1, 7, 30),
        (stamps("2024-01-01", 9, "B"), 1, 5, 22),
        (stamps("2024-01-01", 40, "15min"), 96, 480, 2112),
        (stamps("2024-01-01", 9, "7D"), 1, 1, 4),
        (stamps("2024-01-01", 1, "h"), 1, 1, 1),
        # Seven hours of an exchange on four days, the first of them cut.
        (np.concatenate([stamps(f"2024-01-0{day} 14:30", 7, "h") for day in (1, 2, 3, 4)])[3:], 7, 35, 154),
        (np.concatenate([stamps(f"2024-01-0{day} 14:30", 7, "h") for day in (1, 2)]), 7, 35, 154),
    ],
)
def test_periods_follow_from_the_grid(times, day, week, month):
    assert bars_in_periods(times) == {"day": day, "week": week, "month": month}
