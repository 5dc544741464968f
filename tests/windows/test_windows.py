"""Windows: the lecture's table, no leak, no copy, none across a gap."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from carrossel.config import validate
from carrossel.errors import ConfigError, SeriesTooShort
from carrossel.targets.base import TargetConfig, make_target
from carrossel.windows.config import Windows
from carrossel.windows.features import FEATURES, compute_features
from carrossel.windows.scaling import Scaler
from carrossel.windows.splitting import Split, complete_origins, split_origins
from carrossel.windows.table import window_table
from carrossel.windows.tensor import scale_features, slide, window_series
from walks import make_bars


def windows(**changes):
    values = {"lookback": 3, "features": ["log_return", "close"], "train": 0.6, "validation": 0.2, **changes}
    return validate(values, Windows, "windows")


def windowed(bars, config, kind="log_return"):
    return window_series(bars, config, make_target(TargetConfig(kind=kind)))


def test_the_lectures_table():
    table = window_table(np.array([1.0, 2, 3, 4, 5]), lookback=3)
    assert table.to_dict("list") == {"X1": [1, 2], "X2": [2, 3], "X3": [3, 4], "Y": [4, 5]}


def test_the_table_for_another_horizon_and_stride():
    table = window_table(np.arange(8.0), lookback=2, horizon=3, stride=2)
    assert table.to_numpy().tolist() == [[0, 1, 4], [2, 3, 6]]


def test_the_table_leaves_out_windows_that_touch_a_hole():
    table = window_table(np.array([1, 2, np.nan, 4, 5, 6.0]), lookback=2)
    assert table.to_numpy().tolist() == [[4, 5, 6]]


def test_slide_is_a_view_and_oldest_first():
    series = torch.arange(10.0).reshape(5, 2)
    view = slide(series, 3)
    assert view.shape == (3, 3, 2)
    assert view.data_ptr() == series.data_ptr()
    assert view[1].tolist() == [[2, 3], [4, 5], [6, 7]]
    with pytest.raises(SeriesTooShort, match="5 bars; a window of 6"):
        slide(series, 6)


@pytest.mark.parametrize("kind", ["log_return", "price"])
def test_gathered_windows_equal_the_table(kind):
    bars = make_bars(60)
    data = windowed(bars, windows(features=["close"]), kind)
    origins = data.split.train
    got = data.gather(torch.from_numpy(origins))[..., 0].double().numpy()
    expected = window_table(bars["close"].to_numpy(), 3).loc[origins, ["X1", "X2", "X3"]].to_numpy()
    # float32 carries seven digits.
    np.testing.assert_allclose(data.feature_scaler.inverse(got[..., None])[..., 0], expected, rtol=1e-6)
    truth = data.report(data.label[origins], origins)
    np.testing.assert_allclose(truth[:, 0], bars["close"].to_numpy()[origins + 1])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_changing_any_bar_after_t_never_changes_a_window_that_ends_at_t(data):
    rows = data.draw(st.integers(30, 60))
    t = data.draw(st.integers(5, rows - 2))
    bars = make_bars(rows, seed=data.draw(st.integers(0, 5)))
    changed = bars.copy()
    later = data.draw(st.lists(st.integers(t + 1, rows - 1), min_size=1, max_size=5))
    changed.loc[later, ["open", "high", "low", "close", "volume"]] *= data.draw(st.floats(0.1, 10))
    # A day of hours is longer than these series; the probe's tests cover those features.
    config = windows(features=[name for name in FEATURES if not name.endswith(("_day", "_week", "_month"))])
    scaler = Scaler.fit(compute_features(bars, config.features)[: t + 1], "standard")
    before, after = (scale_features(frame, config, scaler)[t - 2 : t + 1] for frame in (bars, changed))
    assert torch.equal(before, after)


@settings(max_examples=60, deadline=None)
@given(st.integers(60, 120), st.integers(1, 6), st.integers(1, 3), st.integers(0, 10**6))
def test_scalers_and_training_windows_do_not_know_what_comes_after_the_training_part(rows, lookback, horizon, seed):
    bars = make_bars(rows, seed=seed % 7)
    config = windows(lookback=lookback, horizon=horizon)
    data = windowed(bars, config)
    changed = bars.copy()
    changed.loc[data.split.train_rows :, ["open", "high", "low", "close", "volume"]] *= 5
    again = windowed(changed, config)
    np.testing.assert_array_equal(data.feature_scaler.scale, again.feature_scaler.scale)
    np.testing.assert_array_equal(data.label_scaler.center, again.label_scaler.center)
    origins = torch.from_numpy(data.split.train)
    assert torch.equal(data.gather(origins), again.gather(origins))
    assert torch.equal(data.labels[origins], again.labels[origins])


@given(st.integers(80, 200), st.integers(1, 9), st.integers(1, 5))
def test_no_bar_serves_two_parts_and_parts_are_purged(rows, lookback, horizon):
    split = split_origins(np.ones(rows, dtype=bool), windows(lookback=lookback, horizon=horizon))
    parts = [split.train, split.validation, split.test]
    for earlier, later in itertools.pairwise(parts):
        # the earlier part's last label, and the bar before the later part's first window, which its first return needs
        assert earlier[-1] + horizon < later[0] - lookback
        assert later[0] - earlier[-1] > lookback + horizon
    assert (split.train + horizon < split.train_rows).all()
    assert split.test[-1] == rows - 1 - horizon


def test_no_window_and_no_label_spans_a_gap():
    present = np.ones(12, dtype=bool)
    present[5] = False
    assert complete_origins(present, lookback=3, ahead=1).tolist() == [2, 3, 8, 9, 10]
    assert complete_origins(present, lookback=3, ahead=2).tolist() == [2, 8, 9]


def test_a_window_whose_bar_forecast_has_no_variance_is_left_out():
    bars = make_bars(80).assign(realised_variance=1e-4)
    bars.loc[20, "realised_variance"] = (
        np.nan
    )  # the bar is there, its variance isn't: half of its finer bars are missing
    every, thinned = (
        windowed(frame, windows(features=["close"]), "volatility")
        for frame in (bars.assign(realised_variance=1e-4), bars)
    )
    # 19 can't be judged, 20 has nothing to repeat
    assert set(every.split.train) - set(thinned.split.train) == {19, 20}
    assert torch.isfinite(thinned.labels[torch.from_numpy(thinned.split.train)]).all()
    assert np.isfinite(thinned.unchanged[thinned.split.train]).all()


def test_several_horizons_at_once_have_a_column_each_and_a_scaler_of_its_own():
    bars = make_bars(90)
    both, first, third = (windowed(bars, windows(horizon=horizon)) for horizon in ([1, 3], 1, 3))
    assert both.horizons == (1, 3)
    assert both.labels.shape == (90, 2)
    # whatever one horizon can't see is in no window of the other
    assert both.split.train.tolist() == third.split.train.tolist()
    np.testing.assert_array_equal(both.label[:80], np.hstack([first.label, third.label])[:80])
    # numpy sums two columns in another order than one
    assert both.label_scaler.scale[1] == pytest.approx(third.label_scaler.scale[0], rel=1e-12)
    assert both.label_scaler.scale[0] != both.label_scaler.scale[1]
    close, origins = bars["close"].to_numpy(), both.split.test
    truth = both.report(both.label[origins], origins)
    np.testing.assert_allclose(truth, np.stack([close[origins + 1], close[origins + 3]], axis=1), rtol=1e-12)


def test_given_parts_are_taken_as_they_are_and_scalers_see_the_rows_before_their_end():
    bars, config = make_bars(90), windows()
    fold = Split(np.arange(5, 20), np.arange(25, 30), np.arange(35, 50), train_rows=21)
    data = window_series(bars, config, make_target(TargetConfig(kind="log_return")), split=fold)
    assert data.split is fold
    assert data.feature_scaler.center[1] == pytest.approx(bars["close"][:21].mean())
    assert data.label_scaler.center[0] == pytest.approx(np.log(bars["close"]).diff()[6:21].mean())


def test_a_direction_is_not_scaled():
    data = windowed(make_bars(90), windows(), "direction")
    assert set(data.labels[torch.from_numpy(data.split.train)].unique().tolist()) == {0, 1}
    assert (data.label_scaler.center, data.label_scaler.scale) == (0, 1)


def test_a_return_across_a_gap_is_no_feature():
    data = windowed(make_bars(80, missing=[20, 21]), windows(lookback=2))
    # 20 and 21 are missing, the return at 22 needs 21, so the first window after the gap has bars 23 and 24.
    assert [t for t in data.split.train if 17 <= t <= 25] == [17, 18, 24, 25]


def test_stride_thins_training_windows_alone():
    every, third = (windowed(make_bars(90), windows(stride=stride)) for stride in (1, 3))
    assert third.split.train.tolist() == every.split.train[::3].tolist()
    assert third.split.test.tolist() == every.split.test.tolist()


def test_a_series_too_short_says_how_many_bars_it_takes():
    with pytest.raises(
        SeriesTooShort, match=r"btc has 20 bars, 20 of them complete; no validation window of lookback=8"
    ):
        split_origins(np.ones(20, dtype=bool), windows(lookback=8), "btc")


def test_a_window_longer_than_the_series_says_so():
    with pytest.raises(SeriesTooShort, match="no train window of lookback=500"):
        split_origins(np.ones(20, dtype=bool), windows(lookback=500))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": ["clos"]}, "'clos' isn't a feature; choose from"),
        ({"features": ["close", "close"]}, "each feature may be named once"),
        ({"features": []}, "at least 1 item"),
        ({"train": 0.9, "validation": 0.2}, "leaves no test part"),
        ({"lookback": 0}, "greater than or equal to 1"),
        ({"horizon": 0}, "greater than or equal to 1"),
        ({"horizon": []}, "a list of horizons must rise and name each once"),
        ({"horizon": [3, 1]}, "a list of horizons must rise and name each once"),
        ({"horizon": [1, 1]}, "a list of horizons must rise and name each once"),
        ({"window": 3}, r"windows\.window = 3: unknown key; allowed keys: lookback"),
    ],
)
def test_bad_knobs_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        windows(**changes)


def test_a_feature_the_series_cannot_have_is_named():
    bars = make_bars(60).assign(volume=np.nan)
    with pytest.raises(ConfigError, match="'volume' has no value anywhere"):
        compute_features(bars, ("close", "volume"))


def test_features_by_hand():
    bars = make_bars(2)
    bars.loc[:, ["high", "low", "close", "volume"]] = [[120, 100, 110, 1], [121, 110, 121, 3]]
    matrix = compute_features(bars, ("log_return", "log_range", "log_volume_change"))
    np.testing.assert_allclose(matrix[1], np.log([1.1, 1.1, 2.0]))
    assert np.isnan(matrix[0, 0])
    assert np.isnan(matrix[0, 2])


@pytest.mark.parametrize("kind", ["standard", "minmax"])
def test_a_scaler_undoes_itself_and_survives_a_constant_column(kind):
    rows = np.array([[1.0, 5], [3, 5], [8, 5]])
    scaler = Scaler.fit(rows, kind)
    np.testing.assert_allclose(scaler.inverse(scaler.transform(rows)), rows)
    assert np.isfinite(scaler.transform(rows)).all()
    again = Scaler.from_dict(scaler.as_dict())
    np.testing.assert_array_equal(again.center, scaler.center)


def test_scaled_training_rows_have_the_promised_range():
    rows = np.array([[1.0], [3], [8]])
    standard = Scaler.fit(rows, "standard").transform(rows)
    assert abs(standard.mean()) < 1e-15
    assert standard.std() == pytest.approx(1)
    assert Scaler.fit(rows, "minmax").transform(rows).ravel().tolist() == [0, pytest.approx(2 / 7), 1]
