"""Retraining policies: who refits when, on what, at what cost, and what the comparison claims."""

import logging
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import yaml
from distributed import LocalCluster
from typer.testing import CliRunner

from carrossel.bars.store import write_bars
from carrossel.cli import app
from carrossel.errors import ConfigError, ModelError, SeriesTooShort
from carrossel.online.config import Policy
from carrossel.online.policy import backtest as running
from carrossel.online.policy import workers
from carrossel.online.policy.backtest import Backtest, Outcome, backtest
from carrossel.online.policy.calendar import read_calendar
from carrossel.online.policy.courses import DriftCourse
from carrossel.online.policy.figures import draw_policies
from carrossel.online.policy.findings import conclude, find, tabulate
from carrossel.online.policy.plan import read_plan
from carrossel.online.policy.policies import RetrainingPolicy, list_policies, refit_rows
from carrossel.online.policy.reporting import log_findings, render_table, write_findings
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import make_target
from carrossel.training.config import read_recipe
from carrossel.training.fitting import fit
from carrossel.training.outputs import store
from carrossel.walk_forward.folds import Fold
from carrossel.windows.splitting import Split
from carrossel.windows.tensor import window_series

LOOKBACK = 5
POLICY = {"model": "ar", "every": ["6h", "1d"], "rolling_bars": 100, "epochs": 2}


def params(policy=None, **sections):
    return {
        "datasets": {"walk": {}},
        "windows": {"lookback": LOOKBACK, "features": ["log_return", "log_range"], **sections.get("windows", {})},
        "target": {"kind": "log_return"},
        "head": {"kind": "point"},
        "cells": {"rnn": {"hidden_size": 3}},
        "baselines": {"ar": {"max_lag": 3}, "har": {}},
        "training": {"seed": 4, "epochs": 7, "batch_size": 32, "accelerator": "cpu"},
        "walk_forward": {"models": ["rnn"], "workers": 1, **sections.get("walk_forward", {})},
        "online": {"policy": {**POLICY, **(policy or {})}},
    }


def plan_of(policy=None, **sections):
    return read_plan("walk", params(policy, **sections))


class Calm:
    """Never alarmed."""

    def __init__(self):
        self.seen = []

    def update(self, standardised_loss, inputs):
        self.seen.append((standardised_loss, list(inputs)))
        return []


class Alarmed(Calm):
    """Alarmed by these updates, counted from 1."""

    def __init__(self, *updates):
        super().__init__()
        self.updates = updates

    def update(self, standardised_loss, inputs):
        super().update(standardised_loss, inputs)
        return ["loss"] if len(self.seen) in self.updates else []


def run(bars, plan, folder, monitor=Calm):
    return backtest(bars, plan, data_sha256="hash", scratch=folder, monitor=monitor)


def outcome_of(done, name):
    return next(outcome for outcome in done.outcomes if outcome.policy.name == name)


# --- policies


def test_every_rule_comes_with_both_windows_from_seldom_to_often_and_each_time_once():
    names = [policy.name for policy in list_policies(Policy(every=("1d", "7d", "24h")))]
    assert names == [
        f"{rule} {window}" for rule in ("never", "7d", "1d", "on drift") for window in ("expanding", "rolling")
    ]


def test_a_clock_refits_at_the_first_bar_at_or_after_each_multiple():
    hours = np.array([0, 1, 2, 3, 4, 5, 6, 12, 13, 14], dtype="timedelta64[h]")
    stamps = np.datetime64("2020-01-01", "ns") + hours
    # From row 2 on, every 3 h: due at hours 2, 5, 8, 11, 14; hours 8 and 11 lie in the gap before row 7.
    assert refit_rows(stamps, 2, 3 * 3_600_000_000_000) == [2, 5, 7, 9]


def test_a_clock_faster_than_the_bars_is_named():
    stamps = np.datetime64("2020-01-01", "ns") + np.arange(5) * np.timedelta64(1, "D")
    with pytest.raises(ConfigError, match=r"online\.policy\.every = 6h is less than a bar, 1d"):
        refit_rows(stamps, 0, 6 * 3_600_000_000_000)


# --- what a refit may see


@pytest.mark.parametrize("window", ["expanding", "rolling"])
def test_a_refit_sees_nothing_of_the_lookback_before_it_and_a_rolling_one_nothing_before_its_window(make_bars, window):
    calendar = read_calendar(make_bars(300, missing=(270, 271)), plan_of())
    for row in (calendar.start, 265, 268, 290):
        fold = calendar.cut(row, window)
        assert fold.split.test[0] >= row
        known = fold.split.test[0] - LOOKBACK
        assert fold.split.validation[-1] + 1 < known
        assert fold.split.train[-1] + 1 < fold.split.train_rows <= fold.split.validation[0] - LOOKBACK
        first = fold.split.train[0] - LOOKBACK + 1
        assert first >= fold.first_row == (max(0, known - 100) if window == "rolling" else 0)


def test_inside_of_a_gap_a_refit_waits_for_the_first_bar_that_can_be_forecast_from(make_bars):
    calendar = read_calendar(make_bars(300, missing=(270, 271)), plan_of())
    assert calendar.cut(270, "expanding").split.test[0] == 272 + LOOKBACK  # a return needs the bar before it too
    assert calendar.cut(299, "expanding") is None


def test_a_rolling_window_too_short_says_so(make_bars):
    with pytest.raises(SeriesTooShort, match=r"rolling window that ends at bar .* Raise online\.policy\.rolling_bars"):
        read_calendar(make_bars(300), plan_of(windows={"lookback": 30})).cut(290, "rolling")


@pytest.mark.parametrize("model", ["ar", "rnn"])
def test_later_bars_change_no_forecast_made_before_them(make_bars, tmp_path, model):
    bars, plan = make_bars(300), plan_of({"model": model, "every": ["1d"]})
    changed = bars.copy()
    changed.loc[281:, ["open", "high", "low", "close"]] *= 3.0
    before, after = (run(these, plan, tmp_path / name) for name, these in (("one", bars), ("two", changed)))
    for one, two in zip(before.outcomes, after.outcomes, strict=True):
        known = one.rows["origin"] <= bars["timestamp"][280]
        assert known.any()
        pd.testing.assert_series_equal(one.rows["forecast"][known], two.rows["forecast"][known], check_exact=True)


# --- the backtest


def test_never_forecasts_what_a_plain_training_does(make_bars, tmp_path):
    bars, plan = make_bars(300), plan_of({"model": "rnn", "every": []})
    found = outcome_of(run(bars, plan, tmp_path), "never expanding")
    recipe = read_recipe("walk", "rnn", params(training={}))
    recipe = recipe.__class__(**{**vars(recipe), "training": recipe.training.model_copy(update={"epochs": 2})})
    data = window_series(bars, recipe.windows, make_target(recipe.target))
    test = data.split.test
    fitted = store(fit(data, recipe, MemoryRecorder(), name="plain", quiet=True), data, recipe, manifest={})
    expected = fitted.forecast(data.series, test, data.bars["close"][test])
    np.testing.assert_array_equal(found.rows["forecast"], expected.point[:, 0])
    assert found.fits == 1
    assert list(found.rows["origin"]) == list(bars["timestamp"][test])


def test_policies_forecast_the_same_rows_and_a_fit_that_they_share_is_made_once_and_counted_for_each(
    make_bars, tmp_path
):
    done = run(make_bars(300), plan_of(), tmp_path)
    assert [outcome.policy.name for outcome in done.outcomes] == [
        policy.name for policy in list_policies(Policy(every=("6h", "1d")))
    ]
    for outcome in done.outcomes:
        asked = ["origin", "truth", "unchanged"]
        pd.testing.assert_frame_equal(outcome.rows[asked], done.outcomes[0].rows[asked])
    # 39 origins from bar 260 on: refits at hours 0, 6, …, 36 of them, and at 0 and 24.
    fits = {outcome.policy.name: outcome.fits for outcome in done.outcomes}
    assert fits == {
        f"{rule} {window}": count
        for rule, count in (("never", 1), ("1d", 2), ("6h", 7), ("on drift", 1))
        for window in ("expanding", "rolling")
    }
    parts = {part.stem: pd.read_parquet(part) for part in tmp_path.glob("ar/*/*.parquet")}
    assert len(parts) == 2 * 7
    daily = [parts[f"from{first}-at{start}"]["cpu_seconds"][0] for first, start in ((155, 260), (179, 284))]
    assert outcome_of(done, "1d rolling").cpu_seconds == sum(daily)


def test_each_forecast_is_the_newest_fits(make_bars, tmp_path):
    done = run(make_bars(300), plan_of(), tmp_path)
    found = outcome_of(done, "1d expanding").rows["forecast"].to_numpy()
    old, new = (
        pd.read_parquet(next(tmp_path.glob(f"ar/*/from0-at{start}.parquet")))["forecast"].to_numpy()
        for start in (260, 284)
    )
    np.testing.assert_array_equal(found, [*old[:24], *new])
    assert not np.array_equal(found, old)


def test_an_interrupted_backtest_makes_what_is_missing_alone_and_ends_the_same(make_bars, tmp_path, monkeypatch):
    bars, plan = make_bars(300), plan_of()
    expected = run(bars, plan, tmp_path / "undisturbed")
    made = []
    original = workers.refit

    def interrupted(job, fold):
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(fold)
        return original(job, fold)

    with monkeypatch.context() as patched:
        patched.setattr(workers, "refit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(bars, plan, tmp_path / "one")
    kept = {part: part.stat().st_mtime_ns for part in tmp_path.glob("one/ar/*/*.parquet")}
    assert len(kept) == 1 + 4  # the first fit is made before it is known how many follow
    again = run(bars, plan, tmp_path / "one")
    assert {part: part.stat().st_mtime_ns for part in kept} == kept
    for one, two in zip(expected.outcomes, again.outcomes, strict=True):
        pd.testing.assert_frame_equal(one.rows, two.rows, check_exact=True)
    monkeypatch.setattr(workers, "refit", None)
    at_rest = run(bars, plan, tmp_path / "one")
    assert [one.cpu_seconds for one in at_rest.outcomes] == [one.cpu_seconds for one in again.outcomes]


def test_other_policies_keep_a_models_fits_and_other_knobs_forget_them(make_bars, tmp_path):
    bars = make_bars(300)
    run(bars, plan_of(), tmp_path)
    before = {part: part.stat().st_mtime_ns for part in tmp_path.glob("ar/*/*.parquet")}
    run(bars, plan_of({"every": ["12h"]}), tmp_path)
    assert {part: part.stat().st_mtime_ns for part in before} == before
    run(bars, plan_of(windows={"lookback": 6}), tmp_path)
    assert not any(part.exists() for part in before)


def test_workers_give_the_same_forecasts(make_bars, tmp_path, monkeypatch):
    bars = make_bars(300)
    here = run(bars, plan_of(), tmp_path / "one")
    monkeypatch.setattr(running, "_WORKERS_PAY_S", 0)
    monkeypatch.setattr(running, "ThisProcess", None)
    settings = {"protocol": "tcp://", "host": "127.0.0.1", "dashboard_address": None, "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, memory_limit=None, **settings) as cluster:
        there = run(bars, plan_of(walk_forward={"scheduler": cluster.scheduler_address}), tmp_path / "two", a_day_later)
    for one, two in zip(here.outcomes[:-2], there.outcomes[:-2], strict=True):
        pd.testing.assert_frame_equal(one.rows, two.rows, check_exact=True)
        assert one.fits == two.fits
    assert [outcome.fits for outcome in there.outcomes[-2:]] == [2, 2]


def a_day_later():
    return Alarmed(24)


def test_a_series_shorter_than_the_rolling_window_is_told_and_has_expanding_ones_alone(make_bars, tmp_path):
    done = run(make_bars(300), plan_of({"rolling_bars": 5000}), tmp_path)
    assert {outcome.policy.window for outcome in done.outcomes} == {"expanding"}
    assert done.notes == (
        "policy@walk: without rolling windows, since there are no more than online.policy.rolling_bars = 5000 bars to fit on.",
    )


def test_a_model_that_cannot_answer_is_none_and_one_that_is_not_there_is_named():
    assert plan_of({"model": "har"}) is None
    with pytest.raises(ConfigError, match=r"online\.policy\.model = 'lstn' is no entry .* one of rnn, ar, har"):
        plan_of({"model": "lstn"})


# --- on drift


def test_an_alarm_refits_on_what_its_bar_told_and_the_new_model_serves_from_the_next_bar_on(make_bars, tmp_path):
    bars, monitors = make_bars(300), []

    def alarmed():
        monitors.append(Alarmed(10))
        return monitors[-1]

    done = run(bars, plan_of({"every": []}), tmp_path, alarmed)
    found = outcome_of(done, "on drift expanding")
    # The tenth forecast is made at bar 269 and scored at bar 270.
    old, new = (pd.read_parquet(next(tmp_path.glob(f"ar/*/from0-at{start}.parquet"))) for start in (260, 271))
    np.testing.assert_array_equal(found.rows["forecast"], [*old["forecast"][:11], *new["forecast"]])
    assert found.fits == 2
    assert found.cpu_seconds == old["cpu_seconds"][0] + new["cpu_seconds"][0]
    losses, inputs = zip(*monitors[0].seen, strict=True)
    relative = (found.rows["truth"] - found.rows["forecast"]) / found.rows["unchanged"]
    np.testing.assert_allclose(losses, relative**2, rtol=1e-12)
    close = bars["close"].to_numpy()
    np.testing.assert_allclose(
        [one[0] for one in inputs], np.log(close[261:] / close[260:-1]), rtol=1e-9
    )  # a difference of logarithms of 5


def test_without_an_alarm_on_drift_is_never(make_bars, tmp_path):
    done = run(make_bars(300), plan_of({"every": []}), tmp_path)
    never, on_drift = (outcome_of(done, f"{rule} expanding") for rule in ("never", "on drift"))
    pd.testing.assert_frame_equal(never.rows, on_drift.rows, check_exact=True)
    assert (never.fits, never.cpu_seconds) == (on_drift.fits, on_drift.cpu_seconds)


def test_further_ahead_every_forecast_that_served_is_scored_once_and_in_order():
    def fold(start):
        none = np.array([], dtype=np.int64)
        return Fold(0, 20, Split(none, none, np.arange(start, 17), 0))

    def part(start, forecast):
        rows = np.arange(start, 17)
        return pd.DataFrame(
            {"row": rows, "horizon": 3, "last_close": 1.0, "truth": rows * 1.0, "forecast": rows - forecast}
        )

    monitor = Alarmed(2, 4)
    course = DriftCourse(fold(0), fold, monitor, np.zeros((20, 1)), horizon=3, end=17, is_price=False)
    assert course.begin()[0].split.test[0] == 0
    # Forecasts of rows 0, 1 are scored at bars 3, 4: alarm; the old model still serves rows 2, 3, 4.
    (second,) = course.take(fold(0), lambda: part(0, 1.0))
    assert second.split.test[0] == 5
    # Row 3 is the fourth to be scored, at bar 6: alarm again; the second model served rows 5 and 6.
    (third,) = course.take(second, lambda: part(5, 2.0))
    assert third.split.test[0] == 7
    assert course.take(third, lambda: part(7, 3.0)) == []
    assert [loss for loss, _ in monitor.seen] == [1.0] * 5 + [4.0] * 2 + [9.0] * 10
    assert [(one.start, one.end) for one in course.services] == [(0, 5), (5, 7), (7, 17)]


# --- findings


def planted(**errors):
    """Outcomes whose forecasts are off by so much; persistence is off by 2 in every row."""
    rows = len(next(iter(errors.values())))
    origin = pd.date_range("2020-01-01", periods=rows, freq="h", tz="UTC")
    outcomes = []
    for count, (name, error) in enumerate(errors.items(), start=1):
        rule, window = name.replace("on_", "on ").replace("every_", "").rsplit("_", 1)
        frame = pd.DataFrame({"origin": origin, "unchanged": 2.0, "truth": 0.0, "forecast": error})
        fits = 1 if rule == "never" else 5 * count
        outcomes.append(Outcome(RetrainingPolicy(rule, window), fits, float(fits), frame))
    return Backtest("walk", "ar", "price", 1, "key", tuple(outcomes))


def noise(scale, seed):
    return scale * np.random.default_rng(seed).normal(size=400)


def test_skill_and_gain_by_hand():
    ones = np.ones(40)
    found = find(planted(never_expanding=ones, every_7d_expanding=ones * 0.5, every_1d_rolling=ones * 2))
    assert [one.skill.skill for one in found] == [0.75, 0.9375, 0.0]
    assert [one.value for one in found] == [0.0, 0.75, -3.0]
    assert found[0].gain is None
    assert [one.gain.p for one in found[1:]] == [0.0, 1.0]  # the same difference in every row has no luck in it
    assert [one.gain.p_corrected for one in found[1:]] == [0.0, 1.0]


def test_p_values_are_corrected_for_the_policies_tried():
    found = find(
        planted(never_expanding=noise(1, 0), every_7d_expanding=noise(0.98, 1), every_1d_expanding=noise(0.95, 2))
    )
    smaller, larger = sorted((one.gain.p, one.gain.p_corrected) for one in found[1:])
    assert smaller[1] == pytest.approx(2 * smaller[0])
    assert larger[1] == pytest.approx(max(larger[0], smaller[1]))


LUCK = (
    "Retraining ar on walk doesn't pay: no policy has less squared error than never retraining by more than luck. "
    "The best, 7d expanding, has "
)
PAYS = (
    "Retraining ar on walk pays: 7d expanding, the cheapest policy that helps, has 75 % less squared error than never "
    "retraining (p < 0.0001, corrected for {} tried) for 10 fits instead of 1; "
)


@pytest.mark.parametrize(
    ("weekly", "daily", "sentence"),
    [
        (noise(1, 0) + noise(0.01, 1), None, LUCK),
        (noise(0.5, 0), None, PAYS.format(1) + "no policy retrained more often."),
        (
            noise(0.5, 0),
            noise(0.5, 0),
            PAYS.format(2)
            + "more often pays no further: 1d expanding has 0 % less than that (p = 1, corrected for 1).",
        ),
        (
            noise(0.5, 0),
            noise(0.1, 0),
            PAYS.format(2)
            + "more often pays further: 1d expanding has 96 % less than that (p < 0.0001, corrected for 1).",
        ),
    ],
    ids=["luck", "one", "once is enough", "more is better"],
)
def test_the_sentence_claims_what_the_tests_bear_out(weekly, daily, sentence):
    often = {} if daily is None else {"every_1d_expanding": daily}
    done = planted(never_expanding=noise(1, 0), every_7d_expanding=weekly, **often)
    assert conclude(done, find(done)).startswith(sentence)


def test_a_retraining_that_helps_a_hopeless_model_is_called_that():
    done = planted(never_expanding=noise(9, 0), every_7d_expanding=noise(4, 0))  # persistence is off by 2
    sentence = conclude(done, find(done))
    assert sentence.startswith("Retraining ar on walk pays, but not beside 'tomorrow = today' (skill −")


def test_where_nothing_was_retrained_nothing_is_claimed():
    done = planted(never_expanding=noise(1, 0), never_rolling=noise(0.5, 0))
    assert conclude(done, find(done)) == "Nothing was retrained: ar on walk had one fit under every policy."


def test_a_series_in_which_nothing_moves_has_no_skill_to_speak_of():
    done = planted(never_expanding=np.ones(40))
    done.outcomes[0].rows["unchanged"] = 0.0
    with pytest.raises(ModelError, match="makes no error"):
        find(done)


# --- what it leaves


@pytest.fixture
def three():
    done = planted(never_expanding=noise(1, 0), every_7d_rolling=noise(0.9, 1), on_drift_expanding=noise(0.8, 2))
    return done, find(done)


def test_the_figure_shows_every_policy_on_a_scale_of_seconds(three):
    figure = draw_policies(three[1], "title")
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        assert axes.get_xlabel() == "CPU seconds of all fits"
        marks = [line for line in axes.lines if line.get_marker() not in {"None", None, ""}]
        assert sorted(float(line.get_xdata()[0]) for line in marks) == [1.0, 10.0, 15.0]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["expanding window", "rolling window", "never", "every 7d", "on drift"]


def test_table_figure_and_run_say_the_same(three, tmp_path):
    done, found = three
    recorders = []

    @contextmanager
    def open_run(dataset, name, *, key, tags=None, parent_run_id=None, resume_run_id=None):
        recorder = MemoryRecorder()
        recorder.run_id = "run"
        recorders.append((dataset, name, key, tags, resume_run_id, recorder))
        yield recorder

    plan = plan_of()
    write_findings(tmp_path / "reports", done, found)
    for _ in range(2):
        log_findings(open_run, tmp_path / "reports", tmp_path / "notes", plan, done, found, "It pays.")
    table = pd.read_csv(tmp_path / "reports" / "walk.csv")
    pd.testing.assert_frame_equal(table, tabulate(found))
    assert table["policy"].tolist() == ["never expanding", "7d rolling", "on drift expanding"]
    (dataset, name, key, tags, resumed, recorder), again = recorders
    assert (dataset, name, resumed) == ("walk", "policy", None)
    assert again[2:5] == (key, tags, "run")
    assert tags == {"model": "ar", "finding": "It pays."}
    assert recorder.seen_params["every"] == "6h, 1d"
    metrics = {name: value for _, values in recorder.seen_metrics for name, value in values.items()}
    assert metrics["7d rolling/gain"] == table["gain"][1]
    assert metrics["never expanding/fits"] == 1.0
    assert "never expanding/gain" not in metrics
    assert [path.name for _, path in recorder.seen_artifacts] == ["walk.csv", "walk.png"]
    assert render_table(done, found).row_count == 3


def test_the_command_leaves_table_and_figure_of_each_dataset_that_the_model_can_answer(project, make_bars, monkeypatch):
    chosen = yaml.safe_load((project / "params.yaml").read_text())
    chosen |= {name: values for name, values in params({"model": "har", "every": ["7d"]}).items() if name != "datasets"}
    for dataset in chosen["datasets"].values():
        dataset.pop("windows", None)  # features over a week look back further than these bars
    (project / "params.yaml").write_text(yaml.safe_dump(chosen))
    (project / "data" / "bars").mkdir(parents=True)
    for name in chosen["datasets"]:
        write_bars(project / "data" / "bars" / f"{name}.parquet", make_bars(1500))

    @contextmanager
    def open_run(*_arguments, **_keywords):
        yield MemoryRecorder()

    monkeypatch.setattr("carrossel.tracking.mlflow_recorder.open_run", open_run)
    result = CliRunner().invoke(app, ["policy"])
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in (project / "reports" / "policy").iterdir()) == [
        "bitcoin_volatility.csv",
        "bitcoin_volatility.png",
    ]
    assert "policy@bitcoin: online.policy.model names a baseline that can't answer this target." in result.output
    assert "Retraining har on bitcoin_volatility " in result.output
    unknown = CliRunner().invoke(app, ["policy", "--dataset", "gold"])
    assert unknown.exit_code == 1
    assert "datasets has no key 'gold'" in unknown.output
