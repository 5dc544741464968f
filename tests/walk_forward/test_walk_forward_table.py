"""The tidy table: what is in it, and that it knows nothing of what came later."""

import socket

import numpy as np
import pandas as pd
import pytest

from carrossel import baselines
from carrossel.errors import ConfigError, SeriesTooShort, TrainingError
from carrossel.targets.base import make_target
from carrossel.walk_forward.folds import cut_folds
from carrossel.walk_forward.plan import Task, read_plan
from carrossel.walk_forward.task import Series, run_task, source_digest
from carrossel.windows.features import compute_features
from carrossel.windows.tensor import columns_of, usable_rows, window_series

COLUMNS = [
    "dataset",
    "model",
    "seed",
    "fold",
    "origin",
    "time",
    "horizon",
    "last_close",
    "unchanged",
    "truth",
    "forecast",
]
QUANTILES = ["q05", "q25", "q50", "q75", "q95"]


def series_of(bars, plan):
    present = usable_rows(compute_features(bars, plan.windows.features), columns_of(bars))
    folds = cut_folds(present, plan.windows, plan.config)
    return Series("walk", bars, folds, plan.windows, plan.target, source_digest())


def run_here(bars, plan, model=0, seed=1, fold=0):
    """One task in this process."""
    return run_task(series_of(bars, plan), Task(plan.models[model], seed, fold))


def test_the_table_has_every_model_seed_fold_origin_and_horizon_once(make_bars, params, walk):
    bars = make_bars(240, missing=(215, 216))
    table = pd.read_parquet(walk(bars, params(windows={"horizon": [1, 3]}, head={"kind": "student_t"})))
    assert list(table) == COLUMNS + QUANTILES
    counts = table.groupby(["model", "seed"], sort=False).size()
    assert list(counts.index) == [("rnn", 1), ("rnn", 2), ("drift", 1), ("ar", 1)]
    plan = read_plan("walk", params(windows={"horizon": [1, 3]}))
    expected = window_series(bars, plan.windows, make_target(plan.target))
    stamps = pd.DatetimeIndex(expected.timestamps[np.repeat(expected.split.test, 2)], tz="UTC")
    for _, rows in table.groupby(["model", "seed"]):
        assert list(rows["origin"]) == list(stamps)
        assert rows["horizon"].tolist() == [1, 3] * len(expected.split.test)
        assert rows["fold"].is_monotonic_increasing
        assert set(rows["fold"]) == {0, 1}
        assert (rows["time"] - rows["origin"] == pd.to_timedelta(rows["horizon"], unit="h")).all()
        closes = dict(zip(bars["timestamp"], bars["close"], strict=True))
        np.testing.assert_allclose(rows["truth"], [closes[time] for time in rows["time"]], rtol=1e-12)
        np.testing.assert_array_equal(rows["unchanged"], rows["last_close"])
    networks = table[table["model"] == "rnn"]
    assert (np.diff(networks[QUANTILES].to_numpy(), axis=1) >= 0).all()
    assert table.loc[table["model"] != "rnn", QUANTILES].isna().all(axis=None)
    one, two = (networks.loc[networks["seed"] == seed, "forecast"].to_numpy() for seed in (1, 2))
    assert not np.array_equal(one, two)


def test_a_baselines_rows_are_what_it_forecasts_when_fitted_on_the_folds_training_windows(make_bars, params):
    bars, plan = make_bars(200), read_plan("walk", params())
    found = run_here(bars, plan, model=1, fold=1)
    split = series_of(bars, plan).folds[1].split
    close = bars["close"].to_numpy()
    step = np.mean(np.log(close[split.train + 1] / close[split.train]))
    np.testing.assert_allclose(found["forecast"], close[split.test] * np.exp(step), rtol=1e-12)


def test_a_later_fold_of_an_expanding_window_trains_on_more(make_bars, params):
    bars = make_bars(200)
    for changes, grows in (({}, True), ({"window": "rolling", "rolling_bars": 90}, False)):
        folds = series_of(bars, read_plan("walk", params(walk_forward=changes))).folds
        assert (len(folds[1].split.train) > len(folds[0].split.train)) is grows


@pytest.mark.parametrize("model", [0, 2])
@pytest.mark.parametrize("changes", [{}, {"window": "rolling", "rolling_bars": 90}], ids=["expanding", "rolling"])
def test_no_bar_out_of_sight_changes_a_fold(make_bars, params, model, changes):
    bars, plan = make_bars(200), read_plan("walk", params(walk_forward=changes))
    fold = series_of(bars, plan).folds[0]
    out_of_sight = [*range(fold.first_row), *range(fold.end, 200)]
    changed = bars.copy()
    changed.loc[out_of_sight, ["open", "high", "low", "close"]] *= 3.0
    pd.testing.assert_frame_equal(run_here(changed, plan, model), run_here(bars, plan, model), check_exact=True)


def test_forecasts_of_a_fold_know_nothing_of_its_own_later_bars(make_bars, params):
    bars, plan = make_bars(200), read_plan("walk", params())
    test = series_of(bars, plan).folds[0].split.test
    changed = bars.copy()
    changed.loc[test[4] + 1 :, ["open", "high", "low", "close"]] *= 3.0
    for model in range(3):
        before, after = (run_here(b, plan, model)["forecast"].to_numpy() for b in (bars, changed))
        np.testing.assert_array_equal(before[:5], after[:5])
        assert not np.array_equal(before[5:], after[5:])


def test_a_rolling_fold_forecasts_as_if_the_series_began_with_its_window(make_bars, params):
    # Two series that share only what the last rolling fold sees.
    plan = read_plan("walk", params(walk_forward={"window": "rolling", "rolling_bars": 90}))
    bars, other = make_bars(200), make_bars(200, seed=1)
    first = series_of(bars, plan).folds[1].first_row
    assert first > 0
    mixed = pd.concat([other.iloc[:first], bars.iloc[first:]], ignore_index=True)
    mixed.loc[: first - 1, "timestamp"] = bars.loc[: first - 1, "timestamp"]
    for model in (0, 1, 2):
        one, two = (run_here(b, plan, model, fold=1)["forecast"] for b in (bars, mixed))
        pd.testing.assert_series_equal(one, two, check_exact=True)


@pytest.mark.parametrize(
    "rolling_bars", [130, 300]
)  # too few for any value, and for a value at the fold's first windows
def test_a_rolling_window_too_short_for_a_feature_says_so(make_bars, params, rolling_bars):
    changed = params(
        windows={"features": ["log_return", "log_variance_month"]},  # 720 bars, of which half must be there
        walk_forward={"models": ["drift"], "window": "rolling", "rolling_bars": rolling_bars},
    )
    with pytest.raises(SeriesTooShort, match=r"rolling_bars leaves .* log_variance_month look back on"):
        run_here(make_bars(1200), read_plan("walk", changed))


def test_models_that_draw_nothing_run_once_and_those_of_another_unit_are_left_out_with_a_line(
    make_bars, params, walk, capsys
):
    walk(make_bars(200), params(walk_forward={"models": ["har", "drift"]}))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "walk_forward@walk: without har, which can't answer in price"
    assert lines[1] == "walk_forward@walk: 2 tasks on 2 folds"
    assert sorted(lines[2:], key=lambda line: line[-1]) == [
        f"walk_forward@walk: {1 + (f'1/2 drift seed 1 fold {fold}' not in ' '.join(lines))}/2 drift seed 1 fold {fold}"
        for fold in (0, 1)
    ]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["har"], "none of them answers target log_return of walk"),
        (["lstn"], r"names 'lstn', which is no entry of cells or baselines: rnn, drift, ar, har\."),
    ],
)
def test_models_that_cannot_run_are_told_before_the_first_fit(params, models, message):
    with pytest.raises(ConfigError, match=message):
        read_plan("walk", params(walk_forward={"models": models}))


def test_epochs_of_the_section_win_and_a_dataset_may_override(params):
    changed = params(walk_forward={"epochs": 7})
    changed["datasets"]["walk"] = {"walk_forward": {"seeds": 1}}
    plan = read_plan("walk", changed)
    assert plan.models[0].recipe.training.epochs == 7
    assert [str(task) for task in plan.tasks(1)] == ["rnn seed 1 fold 0", "drift seed 1 fold 0", "ar seed 1 fold 0"]


@pytest.mark.parametrize("accelerator", ["auto", "gpu"])
def test_workers_train_on_the_cpu_whatever_training_says(params, accelerator):
    recipe = read_plan("walk", params(training={"accelerator": accelerator})).models[0].recipe
    assert recipe.training.accelerator == "cpu"


def test_a_worker_with_other_code_refuses(make_bars, params):
    bars, plan = make_bars(200), read_plan("walk", params())
    series = series_of(bars, plan)
    with pytest.raises(TrainingError, match="runs other code than the driver"):
        run_task(Series("walk", bars, series.folds, plan.windows, plan.target, "other"), Task(plan.models[0], 1, 0))


def test_a_scheduler_that_does_not_answer_is_one_clear_message(make_bars, params, walk, monkeypatch):
    monkeypatch.setattr("carrossel.workers._ANSWER_S", 1)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(ConfigError, match="doesn't answer within 1 s"):
            walk(make_bars(200), params(walk_forward={"scheduler": address}))


def test_every_seeded_baseline_gets_its_seed(make_bars, params):
    changed = params(walk_forward={"models": ["mlp"]})
    changed["baselines"]["mlp"] = {"epochs": 1}
    plan = read_plan("walk", changed)
    assert baselines.registry.load("mlp").needs_seed
    assert len(list(plan.tasks(2))) == 4
    one, two = (run_here(make_bars(200), plan, seed=seed)["forecast"] for seed in (1, 2))
    assert not one.equals(two)
