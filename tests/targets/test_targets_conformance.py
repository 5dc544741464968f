"""Every registered target: labels know only their own bars, the naive label none to come, and both lead back to the unit."""

import numpy as np
import pytest

from carrossel.errors import ConfigError, UnknownKind
from carrossel.targets.base import ahead, make_target, quantile_column, read_target, registry
from walks import make_bars

BARS = make_bars(24)
COLUMNS = {name: BARS[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
CLOSE = np.array([100.0, 110.0, 99.0, 120.0])
UNITS = {"price": "price", "log_return": "price", "direction": "probability", "volatility": "log_variance"}


def make(kind):
    return make_target(read_target({"kind": kind}))


@pytest.fixture(params=registry.kinds())
def target(request):
    return make(request.param)


def disturbed(rows):
    """The same bars with other prices in some rows."""
    changed = {name: values.copy() for name, values in COLUMNS.items()}
    rng = np.random.default_rng(5)
    for row in rows:
        low, opened, close, high = np.sort(rng.uniform(50, 200, 4))
        for name, value in (("low", low), ("open", opened), ("close", close), ("high", high)):
            changed[name][row] = value
    return changed


def truth(kind, horizon):
    """What came, in the unit, from the definition alone: one window at a time."""
    close = COLUMNS["close"]
    known = range(len(close) - horizon)
    if kind in {"price", "log_return"}:
        return [close[t + horizon] for t in known]
    if kind == "direction":
        return [float(close[t + horizon] > close[t]) for t in known]
    logs = {name: np.log(values) for name, values in COLUMNS.items()}
    variance = 0.5 * (logs["high"] - logs["low"]) ** 2 - (2 * np.log(2) - 1) * (logs["close"] - logs["open"]) ** 2
    return [np.log(np.mean(variance[t + 1 : t + 1 + horizon])) for t in known]


@pytest.mark.parametrize("horizon", [1, 2, 3, 23, 24, 99])
def test_the_perfect_forecast_is_the_truth_and_nothing_is_known_beyond_the_series(target, horizon):
    label = target.label(COLUMNS, horizon)
    known = max(len(label) - horizon, 0)
    assert label.shape == COLUMNS["close"].shape
    assert np.isnan(label[known:]).all()
    reported = target.report(label[:known], COLUMNS["close"][:known])
    np.testing.assert_allclose(reported, truth(target.kind, horizon), rtol=1e-12)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_label_looks_at_no_bar_after_the_one_it_forecasts(target, horizon):
    t = 10
    changed = disturbed(range(t + horizon + 1, len(BARS)))
    before, after = target.label(COLUMNS, horizon), target.label(changed, horizon)
    np.testing.assert_array_equal(before[: t + 1], after[: t + 1])
    assert np.isfinite(before[: t + 1]).all()
    assert not np.array_equal(before[t + 1 :], after[t + 1 :], equal_nan=True)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_label_does_not_look_behind_its_own_bar(target, horizon):
    t = 10
    before, after = target.label(COLUMNS, horizon), target.label(disturbed(range(t)), horizon)
    np.testing.assert_array_equal(before[t:], after[t:])


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_naive_label_knows_no_bar_to_come(target, horizon):
    t = 10
    before, after = (target.unchanged(bars, horizon) for bars in (COLUMNS, disturbed(range(t + 1, len(BARS)))))
    np.testing.assert_array_equal(before[: t + 1], after[: t + 1])
    assert before.shape == COLUMNS["close"].shape


def test_report_takes_many_horizons_and_quantiles_at_once(target):
    label = np.stack([target.label(COLUMNS, horizon) for horizon in (1, 2)], axis=1)[:5, :, None].repeat(3, axis=2)
    reported = target.report(label, COLUMNS["close"][:5, None, None])
    assert reported.shape == (5, 2, 3)
    np.testing.assert_array_equal(reported[:, 1, 2], target.report(label[:, 1, 2], COLUMNS["close"][:5]))


@pytest.mark.parametrize("horizon", [1, 3])
def test_where_a_bar_is_missing_neither_label_nor_naive_label_is_made_up(target, horizon):
    t = 10
    holed = {name: np.where(np.arange(len(BARS)) == t, np.nan, values) for name, values in COLUMNS.items()}
    label, whole = target.label(holed, horizon), target.label(COLUMNS, horizon)
    assert np.isnan(label[t - horizon])
    lost = {
        "price": {t - horizon},
        "log_return": {t - horizon, t},
        "direction": {t - horizon, t},
        "volatility": {*range(t - horizon, t)},  # every bar of the span, but not the one it starts from
    }[target.kind]
    assert {int(row) for row in np.flatnonzero(np.isnan(label) & np.isfinite(whole))} == lost
    if target.kind != "volatility" or horizon == 1:
        assert np.isnan(target.unchanged(holed, horizon)[t])


def test_the_kind_is_the_files_name_and_the_unit_a_known_one(target):
    assert type(target).__module__.rsplit(".", 1)[1] == target.kind
    assert target.unit == UNITS[target.kind]


def test_every_head_a_target_names_exists(target):
    from carrossel.forecaster.heads.base import registry as heads

    assert target.heads
    assert set(target.heads) <= set(heads.kinds())


def test_log_return_is_the_logarithm_of_the_price_ratio():
    label = make("log_return").label({"close": CLOSE}, 1)
    np.testing.assert_allclose(label[:3], np.log([1.1, 0.9, 120 / 99]), rtol=1e-12)


def test_price_is_the_price():
    np.testing.assert_array_equal(make("price").label({"close": CLOSE}, 1)[:3], [110.0, 99.0, 120.0])


@pytest.mark.parametrize("kind", ["price", "log_return"])
def test_unchanged_leads_back_to_the_last_price(kind):
    target = make(kind)
    np.testing.assert_array_equal(target.report(target.unchanged({"close": CLOSE}, 2), CLOSE), CLOSE)


def test_a_price_that_stays_is_no_rise():
    bars = {"close": np.array([100.0, 100, 101, 100, 100])}
    np.testing.assert_array_equal(make("direction").label(bars, 1), [0, 1, 0, 0, np.nan])
    np.testing.assert_array_equal(make("direction").label(bars, 3), [0, 0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(make("direction").unchanged(bars, 1), [0.5] * 5)


# Parkinson's variance of a bar with ln(high / low) = r is r² / (4 ln 2); in units of 1 / (4 ln 2) these bars have 1, 4, 0, 9, 16.
RANGES = np.array([1.0, 2, 0, 3, 4])
PARKINSON = {"high": np.exp(RANGES), "low": np.ones(5), "close": np.ones(5)}
BASE = -np.log(4 * np.log(2))
LEAST = 1e-8 * 4 * np.log(2)  # in those units: what a bar without range counts as


def parkinson(horizon, what="label"):
    target = make_target(read_target({"kind": "volatility", "estimator": "parkinson"}))
    return getattr(target, what)(PARKINSON, horizon) - BASE


def test_volatility_of_the_next_bar_by_hand():
    np.testing.assert_allclose(parkinson(1), [*np.log([4, LEAST, 9, 16]), np.nan], rtol=1e-12)
    np.testing.assert_allclose(parkinson(1, "unchanged"), np.log([1, 4, LEAST, 9, 16]), rtol=1e-12, atol=1e-14)


def test_volatility_of_the_next_three_bars_is_the_logarithm_of_their_mean_variance():
    expected = np.log([(4 + LEAST + 9) / 3, (LEAST + 9 + 16) / 3])
    np.testing.assert_allclose(parkinson(3), [*expected, np.nan, np.nan, np.nan], rtol=1e-12)
    # at the start there are fewer than three bars behind: those there are
    backward = np.log([1, (1 + 4) / 2, (1 + 4 + LEAST) / 3, (4 + LEAST + 9) / 3, (LEAST + 9 + 16) / 3])
    np.testing.assert_allclose(parkinson(3, "unchanged"), backward, atol=1e-12)


def test_volatility_takes_the_variance_of_finer_bars_where_there_is_one():
    bars = {**PARKINSON, "realised_variance": np.array([np.e, np.e**2, 0, np.nan, np.e**3])}
    label = make("volatility").label(bars, 1)
    least = np.log(1e-8)
    np.testing.assert_allclose(label, [2, least, np.nan, 3, np.nan], rtol=1e-14)
    np.testing.assert_allclose(make("volatility").unchanged(bars, 1), [1, 2, least, np.nan, 3], rtol=1e-14)


def test_ahead_is_what_comes_later():
    np.testing.assert_array_equal(ahead(np.array([1.0, 2, 3]), 2), [3, np.nan, np.nan])
    assert np.isnan(ahead(np.array([1.0, 2, 3]), 3)).all()


def test_quantile_columns_have_two_digits():
    assert [quantile_column(level) for level in (0.05, 0.5, 0.29)] == ["q05", "q50", "q29"]


def test_the_section_is_checked():
    assert read_target({"kind": "price", "scaler": "minmax"}).scaler == "minmax"
    with pytest.raises(UnknownKind, match="'pice'"):
        read_target({"kind": "pice"})
    with pytest.raises(ConfigError, match="unknown key"):
        read_target({"kind": "price", "horizon": 3})
