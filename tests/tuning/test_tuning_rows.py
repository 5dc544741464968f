"""Which rows a study sees: before the test part, the same for every trial, folds that share no bar."""

import numpy as np
import pytest

from carrossel.errors import SeriesTooShort
from carrossel.targets.base import make_target
from carrossel.tuning.rows import study_rows, widest
from carrossel.windows.tensor import window_series
from studies import RECIPE, tuning


def rows(bars, folds=1, **space):
    knobs = tuning(space={"training.clip_norm": {"kind": "float", "low": 0, "high": 1}} | space).space
    return study_rows(bars, RECIPE, knobs, folds, "walk")


def test_one_fold_is_the_recipes_own_training_and_validation_part(make_bars):
    bars = make_bars(200)
    (fold,) = rows(bars).folds
    split = window_series(bars, RECIPE.windows, make_target(RECIPE.target)).split
    assert np.array_equal(fold.train, split.train)
    assert np.array_equal(fold.validation, split.validation)
    assert len(fold.test) == 0
    assert fold.train_rows == split.train_rows


@pytest.mark.parametrize("folds", [1, 2, 5])
def test_no_label_lies_in_the_test_part(make_bars, folds):
    found = rows(make_bars(200), folds)
    assert found.end == 170  # 70 % and 15 % of 200
    assert len(found.folds) == folds
    for fold in found.folds:
        assert fold.validation[-1] + 1 < found.end  # the label is one bar ahead


def test_folds_follow_one_another_and_share_no_bar_between_training_and_validation(make_bars):
    found = rows(make_bars(200), 3)
    for fold in found.folds:
        assert fold.train[-1] + 1 < fold.train_rows  # the last label
        assert fold.validation[0] - RECIPE.windows.lookback >= fold.train_rows  # the bar that the first return needs
    starts = [fold.validation[0] for fold in found.folds]
    assert starts == sorted(starts)
    assert all(a.validation[-1] < b.validation[0] for a, b in zip(found.folds, found.folds[1:], strict=False))
    # TimeSeriesSplit: 170 rows in four blocks, of which the last three have 42
    assert [fold.train_rows for fold in found.folds] == [44, 86, 128]


def test_all_trials_answer_the_rows_of_the_longest_lookback_and_all_features(make_bars):
    bars = make_bars(200)
    knobs = {
        "windows.lookback": {"kind": "int", "low": 2, "high": 20},
        "windows.features": {"kind": "categorical", "choices": [["log_return"], ["log_range", "log_return"]]},
        "windows.stride": {"kind": "int", "low": 1, "high": 3},
    }
    wide = widest(RECIPE.windows, tuning(space=knobs).space)
    assert (wide.lookback, wide.features, wide.stride) == (20, ("log_return", "log_range"), 1)
    (fold,) = rows(bars, **knobs).folds
    assert fold.train[0] == 20  # the first return needs the bar before the window
    assert fold.validation[0] == 140 + 20


def test_a_lookback_that_does_not_fit_is_told_before_the_first_trial(make_bars):
    knobs = {"windows.lookback": {"kind": "int", "low": 2, "high": 100}}
    with pytest.raises(SeriesTooShort, match="lookback=100"):
        rows(make_bars(200), **knobs)
    with pytest.raises(SeriesTooShort, match="fold 1 of 5 has no window of lookback=100"):
        rows(make_bars(200), 5, **knobs)
