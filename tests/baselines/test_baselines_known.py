"""Baselines whose answer is known: by hand, by construction, or from the library that others trust."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from arch import arch_model
from lively_bars import make_lively_bars
from statsmodels.api import OLS, add_constant

from carrossel.baselines import make_baseline, read_baselines, registry
from carrossel.baselines.har import trailing_mean
from carrossel.errors import ConfigError, UnknownKind
from carrossel.targets.base import TargetConfig, make_target
from carrossel.windows.config import Windows
from carrossel.windows.tensor import window_series
from walks import make_bars


def windowed(bars, target, horizon=1, lookback=4, features=("log_return",)):
    config = Windows(lookback=lookback, horizon=horizon, features=features)
    return window_series(bars, config, make_target(TargetConfig(kind=target)))


def bars_of(returns):
    close = 100 * np.exp(np.cumsum(returns))
    bars = make_bars(len(close))
    for name, factor in {"open": 1.001, "high": 1.01, "low": 0.99, "close": 1}.items():
        bars[name] = close * factor
    return bars


def fit(data, kind, **settings):
    baseline = make_baseline(kind, registry.load(kind).Config(**settings))
    baseline.fit(data)
    return baseline


def test_persistence_repeats_the_last_close_and_tosses_a_coin_for_the_direction():
    data = windowed(make_bars(200), "price", horizon=(1, 3))
    origins = data.split.test
    forecast = fit(data, "persistence").forecast(data, origins)
    np.testing.assert_array_equal(forecast, np.stack([data.bars["close"][origins]] * 2, axis=1))
    data = windowed(make_bars(200), "direction")
    assert (fit(data, "persistence").forecast(data, data.split.test) == 0.5).all()


@pytest.mark.parametrize("target", ["log_return", "direction"])
def test_drift_is_the_mean_training_label_where_the_naive_one_is_constant(target):
    data = windowed(make_bars(300), target, horizon=(1, 4))
    forecast = fit(data, "drift").forecast(data, data.split.test)
    mean = data.label[data.split.train].mean(axis=0)
    np.testing.assert_allclose(forecast, np.tile(mean, (len(forecast), 1)), rtol=1e-12)  # sums in another order


def test_drift_of_a_price_that_gains_two_a_bar_is_exact():
    bars = make_bars(200)
    for name in ("open", "high", "low", "close"):
        bars[name] = 100.0 + 2 * np.arange(200)
    data = windowed(bars, "price", horizon=(1, 3), features=("close",))
    origins = data.split.test
    forecast = fit(data, "drift").forecast(data, origins)
    np.testing.assert_allclose(forecast, data.bars["close"][origins][:, None] + [2, 6], rtol=1e-14)


def test_seasonal_naive_is_the_close_in_the_same_phase_one_season_earlier():
    data = windowed(make_bars(200), "price", horizon=(1, 3, 4, 7))
    origins = data.split.test
    close = data.bars["close"]
    forecast = fit(data, "seasonal_naive", season=3).forecast(data, origins)
    # With m = 3: t+1 → t−2, t+3 → t, t+4 → t−2 (two seasons), t+7 → t−2 (three seasons).
    np.testing.assert_array_equal(
        forecast, np.stack([close[origins - 2], close[origins], *[close[origins - 2]] * 2], 1)
    )


def test_seasonal_naive_finds_the_day_of_hourly_and_the_week_of_daily_bars():
    hourly = make_bars(300)
    assert fit(windowed(hourly, "price"), "seasonal_naive").season == 24
    daily = hourly.assign(timestamp=pd.bdate_range("2020-01-01", periods=300, tz="UTC", unit="ns"))
    assert fit(windowed(daily, "price"), "seasonal_naive").season == 5


def test_seasonal_naive_without_a_known_season_says_tomorrow_is_today():
    data = windowed(make_bars(200, missing=(150,)), "price")
    seasonal = fit(data, "seasonal_naive", season=20)
    origins = np.array([10, 169])  # one season before: row −10, and row 149, whose next close is missing
    np.testing.assert_array_equal(seasonal.forecast(data, origins)[:, 0], data.bars["close"][origins])


def test_ar_recovers_the_coefficients_of_a_simulated_ar2():
    rng = np.random.default_rng(0)
    returns = np.zeros(6000)
    for t in range(2, 6000):
        returns[t] = 0.3 * returns[t - 1] - 0.4 * returns[t - 2] + rng.normal(0, 0.01)
    data = windowed(bars_of(returns), "log_return", horizon=(1, 2))
    ar = fit(data, "ar")
    # A standard error is about 1/√4200 = .015; AIC now and then takes a lag too many, whose coefficient is then as small.
    one, two = ar.coefficients
    np.testing.assert_allclose(one[1:3], [0.3, -0.4], atol=0.05)
    assert np.abs(one[3:]).max(initial=0) < 0.05
    # r_{t+1} + r_{t+2}: 0.3 + (0.3² − 0.4) on the last return, −0.4 + 0.3 · (−0.4) on the one before.
    np.testing.assert_allclose(two[1:3], [-0.01, -0.52], atol=0.07)


def test_ar_asks_a_price_level_the_same_as_a_log_return():
    bars = make_lively_bars(2000)
    level, change = windowed(bars, "price"), windowed(bars, "log_return")
    origins = level.split.test
    by_level = fit(level, "ar").forecast(level, origins)
    by_change = change.report(fit(change, "ar").forecast(change, origins), origins)
    np.testing.assert_allclose(by_level, by_change, rtol=1e-3)  # simple and log returns differ by r²/2, here about 1e-4


def test_har_equals_least_squares_on_columns_built_by_hand():
    bars = make_lively_bars(1500)
    data = windowed(bars, "volatility", horizon=(1, 24))
    log_variance = pd.Series(make_target(TargetConfig(kind="volatility")).unchanged(data.bars, 1))
    columns = [log_variance.rolling(span, min_periods=1).mean().to_numpy() for span in (1, 24, 168, 720)]
    design = add_constant(np.stack(columns, axis=1))
    train, test = data.split.train, data.split.test
    forecast = fit(data, "har").forecast(data, test)
    for k in range(2):
        reference = OLS(data.label[train, k], design[train]).fit().predict(design[test])
        np.testing.assert_allclose(forecast[:, k], reference, rtol=1e-8)  # another solver, columns of like size


def test_har_leaves_missing_bars_out_of_its_means():
    values = np.array([np.nan, 1.0, 3.0, np.nan, np.nan, 8.0])
    np.testing.assert_array_equal(trailing_mean(values, 2), [np.nan, 1.0, 2.0, 3.0, np.nan, 8.0])


def garch_returns(rows=4000):
    rng = np.random.default_rng(1)
    returns, variance = np.zeros(rows), 1e-4
    for t in range(1, rows):
        variance = 4e-6 + 0.1 * returns[t - 1] ** 2 + 0.86 * variance
        returns[t] = rng.normal(0, np.sqrt(variance))
    return returns


def with_moving_range(bars):
    """Highs and lows at the bar's own return, so that the range tells its variance."""
    move = np.abs(np.log(bars["close"]).diff().fillna(0.01)) + 1e-4
    return bars.assign(high=bars["close"] * np.exp(move), low=bars["close"] * np.exp(-move), open=bars["close"])


def test_garch_filters_as_arch_does_on_the_training_part():
    data = windowed(with_moving_range(bars_of(garch_returns())), "volatility")
    garch = fit(data, "garch")
    returns = np.diff(np.log(data.bars["close"]))[: data.split.train_rows - 1] / garch.scale
    reference = arch_model(returns, rescale=False).fit(disp="off", show_warning=False, backcast=1.0)
    _, variance = garch.filter(data)
    # Row 0 has no return and counts as one of ordinary size, after which both run from nearly the same start.
    ours = variance[1 : data.split.train_rows]
    np.testing.assert_allclose(ours[200:], reference.conditional_volatility[200:] ** 2, rtol=1e-8)
    np.testing.assert_allclose(garch.parameters, reference.params.to_numpy()[1:], rtol=1e-8)


def test_garch_forecasts_as_arch_does_some_bars_ahead():
    data = windowed(with_moving_range(bars_of(garch_returns())), "volatility", horizon=(1, 6))
    garch = fit(data, "garch")
    returns = np.diff(np.log(data.bars["close"])) / garch.scale
    model = arch_model(returns, rescale=False)
    reference = model.fix([garch.mean, *garch.parameters]).forecast(horizon=6, start=3000, align="origin")
    expected = np.stack([reference.variance["h.1"], reference.variance.mean(axis=1)], axis=1)
    # Return k is that of row k + 1. What is left of the start after 3,000 bars is below rounding.
    np.testing.assert_allclose(np.exp(garch.log_variance(data)[3001:]), expected, rtol=1e-8)


def test_garch_is_on_average_right_on_the_training_part():
    data = windowed(make_lively_bars(1500, missing=(100, 101)), "volatility", horizon=(1, 24))
    train = data.split.train
    error = fit(data, "garch").forecast(data, train) - data.label[train]
    np.testing.assert_allclose(error.mean(axis=0), 0, atol=1e-10)  # rounding of sums around −10


def test_garch_without_moves_to_fit_to_says_tomorrow_is_today():
    moves = np.zeros(300)
    moves[250:] = np.random.default_rng(0).normal(0, 0.01, 50)  # in the test part alone
    data = windowed(with_moving_range(bars_of(moves)), "volatility", horizon=(1, 3))
    origins = data.split.test
    np.testing.assert_array_equal(fit(data, "garch").forecast(data, origins), data.unchanged[origins])


def test_garch_says_tomorrow_is_today_where_its_forecast_is_not_finite():
    data = windowed(with_moving_range(bars_of(garch_returns(600))), "volatility", horizon=(1, 3))
    garch, origins = fit(data, "garch"), data.split.test
    finite = garch.forecast(data, origins)
    garch.offset[1] = np.inf
    found = garch.forecast(data, origins)
    np.testing.assert_array_equal(found[:, 0], finite[:, 0])
    np.testing.assert_array_equal(found[:, 1], data.unchanged[origins, 1])


def test_garch_prints_a_line_when_its_fit_does_not_converge(capsys):
    bars = bars_of(np.full(300, 0.01))
    data = windowed(bars, "volatility")
    forecast = fit(data, "garch").forecast(data, data.split.test)
    assert np.isfinite(forecast).all()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("garch: the fit didn't converge (")
    fit(windowed(with_moving_range(bars_of(garch_returns(600))), "volatility"), "garch")
    assert capsys.readouterr().out == ""


def test_linear_finds_a_return_that_the_window_tells():
    rng = np.random.default_rng(0)
    returns = np.zeros(3000)
    for t in range(1, 3000):
        returns[t] = 0.9 * returns[t - 1] + rng.normal(0, 0.01)
    data = windowed(bars_of(returns), "log_return")
    origins = data.split.test
    forecast = fit(data, "linear").forecast(data, origins)[:, 0]
    # A coefficient's standard error is about √(1 − .9²)/√2100 = .01; a return is about .023.
    np.testing.assert_allclose(forecast, 0.9 * returns[origins], atol=0.003)


def test_kmeans_regimes_answers_each_regimes_mean_label():
    returns = np.tile([0.02] * 20 + [-0.02] * 20, 20) * np.random.default_rng(0).uniform(0.99, 1.01, 800)
    data = windowed(bars_of(returns), "log_return", lookback=2)
    regimes = fit(data, "kmeans_regimes", regimes=2)
    calm = np.array([row for row in data.split.test if row % 20 in range(5, 15)])
    # 18 of the 19 windows within a block of 20 go on, and one turns: the mean is about .02 · (18 − 1) / 19 …
    forecast = regimes.forecast(data, calm)[:, 0]
    assert (np.sign(forecast) == np.sign(returns[calm])).all()
    np.testing.assert_allclose(np.abs(forecast), 0.018, atol=0.002)  # … or of 20, by where the turning windows go


@pytest.mark.parametrize("kind", ["tree", "knn", "svm", "rbf", "mlp", "cnn"])
def test_those_that_bend_learn_what_no_line_can(kind):
    rng = np.random.default_rng(0)
    returns = np.zeros(3000)
    for t in range(1, 3000):
        returns[t] = np.abs(returns[t - 1]) - 0.012 + rng.normal(0, 0.008)
    data = windowed(bars_of(returns), "log_return", lookback=2)
    origins = data.split.test
    truth = data.label[origins, 0]
    baseline = fit(data, kind)
    left = np.mean((baseline.forecast(data, origins)[:, 0] - truth) ** 2)
    line = np.mean((fit(data, "linear").forecast(data, origins)[:, 0] - truth) ** 2)
    assert left < 0.97 * line


def test_an_autoencoder_gives_back_more_than_its_mean():
    data = windowed(make_lively_bars(1500), "volatility", lookback=6, features=("log_return", "log_range"))
    auto = fit(data, "autoencoder", code=4, epochs=20)
    codes = auto.inputs(data, data.split.test)
    assert codes.shape == (len(data.split.test), 4)
    assert (codes.std(axis=0) > 0.1).all()


def test_naive_bayes_knows_the_direction_that_the_last_return_tells():
    rng = np.random.default_rng(0)
    returns = np.zeros(2000)
    for t in range(1, 2000):
        returns[t] = 0.8 * returns[t - 1] + rng.normal(0, 0.01)
    data = windowed(bars_of(returns), "direction")
    origins = data.split.test
    probability = fit(data, "naive_bayes").forecast(data, origins)[:, 0]
    large = np.abs(returns[origins]) > 0.02
    np.testing.assert_array_equal(probability[large] > 0.5, returns[origins][large] > 0)


def test_too_many_windows_are_thinned_evenly():
    data = windowed(make_bars(300), "log_return")
    knn = fit(data, "knn", max_windows=11, neighbours=20)
    assert knn.windows == 11
    assert knn.estimators[0].n_samples_fit_ == 11


def test_training_labels_that_are_missing_are_left_out():
    data = windowed(make_bars(300), "log_return")
    label = data.label.copy()
    label[data.split.train[:5]] = np.nan
    holed = dataclasses.replace(data)
    holed.__dict__["label"] = label  # the cached property
    knn = fit(holed, "linear")
    assert knn.windows == len(data.split.train) - 5


def test_the_section_gives_each_kind_its_checked_config():
    read = read_baselines({"baselines": {"drift": None, "knn": {"neighbours": 7}}})
    assert list(read) == ["drift", "knn"]
    kind, config = read["knn"]
    assert kind == "knn"
    assert config.neighbours == 7


@pytest.mark.parametrize(
    ("section", "error", "message"),
    [
        ({"knn": {"neighbours": 0}}, ConfigError, r"baselines\.knn\.neighbours = 0"),
        ({"knn": {"neighbors": 3}}, ConfigError, "unknown key"),
        ({"arima": {}}, UnknownKind, "'arima'"),
        (["knn"], ConfigError, "one entry per kind"),
    ],
)
def test_mistakes_in_the_section_are_named(section, error, message):
    with pytest.raises(error, match=message):
        read_baselines({"baselines": section})
