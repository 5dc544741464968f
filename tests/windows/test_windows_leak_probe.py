"""The probe finds planted leaks, and none in what the project computes."""

import numpy as np
import pytest

from carrossel.config import validate
from carrossel.targets.base import make_target, read_target, registry
from carrossel.windows.config import Windows
from carrossel.windows.features import FEATURES
from carrossel.windows.leak_probe import (
    disturbed,
    find_leaks,
    probe_features,
    probe_question,
    probe_target,
    probe_windows,
    spread_rows,
)
from carrossel.windows.scaling import Scaler
from walks import make_bars

ROWS = (3, 17, 30, 38)


def close(bars):
    return bars["close"].to_numpy()


PLANTED = {
    "the next bar's close": lambda bars: np.append(close(bars)[1:], np.nan),
    "the direction of the next move": lambda bars: np.append(np.diff(close(bars)) > 0, False),
    "a centred rolling mean": lambda bars: bars["close"].rolling(5, center=True).mean(),
    "holes filled from behind": lambda bars: bars["close"].where(bars.index % 4 != 3).bfill(),
    "scaling by the whole series": lambda bars: (close(bars) - close(bars).mean()) / close(bars).std(),
    "the highest price of all": lambda bars: close(bars) / close(bars).max(),
    "later volume": lambda bars: bars["volume"][::-1].cumsum()[::-1],
    "the last bit": lambda bars: close(bars) * (1 + 2e-16 * (np.append(close(bars)[1:], 0) > 0.9 * close(bars))),
    "one feature of two": lambda bars: np.stack([close(bars), np.append(close(bars)[1:], 0)], axis=1),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_is_caught(name):
    leaks = find_leaks(PLANTED[name], make_bars(40), ROWS, what=name)
    assert leaks
    assert leaks[0].row <= leaks[0].after
    assert str(leaks[0]).startswith(f"{name} at row {leaks[0].row} changes from ")


def test_a_leak_says_where_it_is():
    (leak,) = find_leaks(PLANTED["the next bar's close"], make_bars(40), [17])
    assert (leak.row, leak.after) == (17, 17)
    assert leak.before == make_bars(40)["close"][18]


@pytest.mark.parametrize(
    "compute", [close, lambda bars: bars["close"].cumsum(), lambda bars: bars["close"].rolling(5).mean()]
)
def test_what_looks_back_alone_passes(compute):
    assert find_leaks(compute, make_bars(40), ROWS) == []


def test_looking_ahead_by_the_horizon_is_a_labels_right_and_no_further():
    def label(bars):
        return np.append(close(bars)[2:], [np.nan, np.nan])

    assert find_leaks(label, make_bars(40), ROWS, delay=2) == []
    assert find_leaks(label, make_bars(40), ROWS, delay=1)


def test_disturbed_bars_are_bars_and_earlier_ones_stay():
    bars = make_bars(30, missing=[25]).assign(realised_variance=0.1)
    changed = disturbed(bars, 19, 0.7, np.random.default_rng(0))
    assert changed[:20].equals(bars[:20])
    later = changed[20:]
    assert ((later["low"] <= later[["open", "close"]].min(axis=1)) | later["close"].isna()).all()
    assert ((later["high"] >= later[["open", "close"]].max(axis=1)) | later["close"].isna()).all()
    for name in ("open", "high", "low", "close", "volume", "realised_variance"):
        assert (later[name] != bars[name][20:]).all()
        np.testing.assert_array_equal(later[name].isna(), bars[name][20:].isna())


def test_there_must_be_a_bar_to_disturb_and_a_row_per_bar():
    with pytest.raises(ValueError, match="no bar to disturb after row 39 of 40"):
        find_leaks(close, make_bars(40), [39])
    with pytest.raises(ValueError, match=r"shape \(39,\); a probe needs one row for each of 40 bars"):
        find_leaks(lambda bars: close(bars)[1:], make_bars(40), [3])


@pytest.mark.parametrize("resampled", [False, True])
@pytest.mark.parametrize("name", FEATURES)
def test_no_feature_knows_a_later_bar(name, resampled):
    bars = make_bars(800, missing=[50, 51, 400])
    # Bars without range or trade, which the floor of variances must carry without looking ahead.
    for column in ("open", "high", "low"):
        bars.loc[[10, 100, 700], column] = bars["close"]
    if resampled:
        realised = np.random.default_rng(1).exponential(1e-4, 800)
        realised[[20, 120]] = [0, np.nan]
        bars["realised_variance"] = np.where(bars["close"].isna(), np.nan, realised)
    assert probe_features(bars, [name], (5, 51, 399, 700, 790)) == []


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("kind", registry.kinds())
def test_no_target_knows_more_than_its_horizon(kind, horizon):
    target = make_target(read_target({"kind": kind}))
    assert probe_target(make_bars(40, missing=[20]), target, horizon, ROWS) == []


def windows(**changes):
    return validate({"lookback": 3, "features": ["log_return", "close"], **changes}, Windows, "windows")


@pytest.mark.parametrize("scaler", ["standard", "minmax"])
@pytest.mark.parametrize("kind", registry.kinds())
def test_nothing_of_the_training_part_knows_what_comes_after(kind, scaler):
    target = make_target(read_target({"kind": kind, "scaler": scaler}))
    assert probe_windows(make_bars(120, missing=[30]), windows(horizon=[1, 2], scaler=scaler), target) == []


def test_a_scaler_that_saw_the_test_part_is_caught(monkeypatch):
    honest = Scaler.fit

    def peeking(rows, kind):
        # The training rows are a view of all rows.
        return honest(rows if rows.base is None else rows.base, kind)

    monkeypatch.setattr(Scaler, "fit", peeking)
    (leak,) = probe_windows(make_bars(120), windows(), make_target(read_target({"kind": "price"})))
    assert leak.after == 83
    assert leak.what == "training part of the windows"


def test_a_question_is_probed_in_its_features_its_target_at_each_horizon_and_its_scalers(monkeypatch):
    bars, asked, target = make_bars(120), windows(horizon=[1, 2]), make_target(read_target({"kind": "log_return"}))
    assert probe_question(bars, asked, target, ROWS) == []

    def peeking(bars, horizon):
        return np.append(bars["close"][1:], 0.0) if horizon == 2 else np.zeros(len(bars["close"]))

    monkeypatch.setattr(target, "unchanged", peeking)
    found = probe_question(bars, asked, target, ROWS)
    assert [(leak.what, leak.after) for leak in found] == [("naive log_return", row) for row in ROWS]
    monkeypatch.setitem(FEATURES, "log_return", PLANTED["the next bar's close"])
    assert {leak.what for leak in probe_question(bars, asked, target, ROWS)} == {
        "training part of the windows",
        "feature log_return",
        "naive log_return",
    }


@pytest.mark.parametrize(("bars", "rows"), [(60, [10, 20, 30, 40, 50]), (3, [1]), (1, [])])
def test_probed_rows_are_spread_over_the_series_and_leave_a_bar_to_disturb(bars, rows):
    assert spread_rows(bars) == rows
