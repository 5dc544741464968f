"""Folds: every test window once, no bar in two parts, nothing seen that came later."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from carrossel.config import validate
from carrossel.errors import ConfigError, SeriesTooShort
from carrossel.walk_forward.config import WalkForward
from carrossel.walk_forward.folds import cut_folds
from carrossel.windows.config import Windows
from carrossel.windows.splitting import split_origins


def windows(**changes):
    return Windows(**{"lookback": 3, "features": ("log_return",), **changes})


def config(**changes):
    return WalkForward(models=("rnn",), **changes)


@st.composite
def cases(draw):
    rows = draw(st.integers(120, 400))
    present = np.ones(rows, dtype=bool)
    present[0] = False  # no return at the first bar
    for start in draw(st.lists(st.integers(0, rows - 1), max_size=3)):
        present[start : start + draw(st.integers(1, 6))] = False
    refit = draw(st.one_of(st.none(), st.integers(5, 60)))
    rolling = draw(st.one_of(st.none(), st.integers(60, 150)))
    return (
        present,
        windows(
            lookback=draw(st.integers(1, 6)),
            horizon=draw(st.sampled_from([1, 3, (1, 4)])),
            stride=draw(st.integers(1, 3)),
        ),
        config(
            window="rolling" if rolling else "expanding",
            rolling_bars=rolling,
            refit_every=refit,
            folds=draw(st.integers(1, 6)),
            embargo=draw(st.integers(0, 10)),
            validation=0.3,
        ),
    )


def folds_of(case):
    try:
        return cut_folds(*case)
    except SeriesTooShort:
        assume(False)


def bars_of(origins, windows, ahead):
    """Every bar that windows and labels of these origins touch, the bar before a window too: a return needs it."""
    return {bar for t in origins for bar in range(t - windows.lookback, t + ahead + 1)}


@settings(max_examples=60, deadline=None)
@given(cases())
def test_every_test_window_is_forecast_exactly_once_and_in_order(case):
    present, cut, _ = case
    forecast = np.concatenate([fold.split.test for fold in folds_of(case)])
    np.testing.assert_array_equal(forecast, split_origins(present, cut).test)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_no_bar_serves_two_parts_of_a_fold(case):
    _, cut, _ = case
    for fold in folds_of(case):
        parts = [bars_of(fold.split.origins(part), cut, cut.horizons[-1]) for part in ("train", "validation", "test")]
        assert max(parts[0]) < fold.split.train_rows <= min(parts[1])
        assert max(parts[1]) < min(parts[2])


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_embargo_and_a_lookback_lie_between_training_window_and_fold(case):
    _, cut, chosen = case
    for fold in folds_of(case):
        last_known = fold.split.validation[-1] + cut.horizons[-1]
        assert fold.split.test[0] - last_known > cut.lookback + chosen.embargo


@settings(max_examples=60, deadline=None)
@given(cases())
def test_a_rolling_window_touches_no_bar_before_it_and_an_expanding_one_begins_at_the_first(case):
    _, cut, chosen = case
    for fold in folds_of(case):
        rolled = chosen.window == "rolling"
        assert fold.first_row == 0 if not rolled else fold.first_row >= 0
        assert min(bars_of(fold.split.train, cut, 0)) >= fold.first_row
        if rolled and fold.first_row:
            # the training window ends a lookback and the embargo before the fold begins, which is at or before its first origin
            assert fold.first_row >= fold.split.validation[-1] + cut.horizons[-1] + 1 - chosen.rolling_bars
        assert fold.end == fold.split.test[-1] + cut.horizons[-1] + 1
        in_sight = fold.split_in_sight()
        np.testing.assert_array_equal(in_sight.test + fold.first_row, fold.split.test)
        assert in_sight.train_rows + fold.first_row == fold.split.train_rows


def test_four_equal_folds_of_a_hundred_bars_by_hand():
    # test part from bar 60 on, first origin 63; last origin 98. Edges 63, 72, 81, 90, 99.
    present = np.ones(100, dtype=bool)
    folds = cut_folds(present, windows(train=0.5, validation=0.1), config(folds=4, validation=0.2))
    assert [(fold.split.test[0], fold.split.test[-1]) for fold in folds] == [(63, 71), (72, 80), (81, 89), (90, 98)]
    # The first fold knows bars before 60, trains on those before 60 − 12 and validates on origins 51 … 58.
    assert folds[0].split.train_rows == 48
    assert (folds[0].split.train[0], folds[0].split.train[-1]) == (2, 46)
    assert (folds[0].split.validation[0], folds[0].split.validation[-1]) == (51, 58)
    assert folds[0].end == 73


def test_a_refit_every_so_many_bars_leaves_the_rest_to_the_last_fold():
    folds = cut_folds(np.ones(100, dtype=bool), windows(train=0.5, validation=0.1), config(refit_every=16))
    assert [len(fold.split.test) for fold in folds] == [16, 16, 4]


def test_a_fold_inside_a_gap_is_left_out():
    present = np.ones(100, dtype=bool)
    present[68:84] = False
    folds = cut_folds(present, windows(train=0.5, validation=0.1), config(folds=4, validation=0.4))
    assert [(fold.split.test[0], fold.split.test[-1]) for fold in folds] == [(63, 66), (86, 89), (90, 98)]


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (20, {}, r"the walk has 20 bars, 20 of them complete; no window of lookback=3, horizon=1 fits the part behind"),
        (100, {"embargo": 90}, r"fold that begins at bar 88 of 100 has no complete window to train on"),
        (100, {"validation": 0.01}, r"no complete window to validate on \(training window: bars 0 to 85"),
        (100, {"window": "rolling", "rolling_bars": 5}, r"bars 80 to 85.*raise walk_forward\.rolling_bars"),
    ],
)
def test_a_fold_without_windows_is_one_clear_message(rows, changes, message):
    with pytest.raises(SeriesTooShort, match=message):
        cut_folds(np.ones(rows, dtype=bool), windows(train=0.7, validation=0.15), config(**changes), "the walk")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window": "rolling"}, "rolling needs rolling_bars"),
        ({"models": ["rnn", "rnn"]}, "each may be named once"),
        ({"seeds": 0}, r"walk_forward\.seeds = 0"),
        ({"scheduler": "10.0.0.5:8786"}, r"walk_forward\.scheduler = '10\.0\.0\.5:8786'"),
        ({"refit": 3}, r"walk_forward\.refit = 3: unknown key"),
    ],
)
def test_an_impossible_section_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        validate({"models": ["rnn"], **values}, WalkForward, "walk_forward")
