"""Drivers and workers are killed, databases fill up, trials go wrong: a study ends as if nobody had noticed."""

import errno
import itertools
import sqlite3

import numpy as np
import pytest
import sqlalchemy
from optuna.trial import TrialState
from safetensors.numpy import load_file
from study_drivers import Quiet, age, finished_points, make_plan

import walks
from carrossel.errors import SeriesTooShort, StudyError
from carrossel.recorder import MemoryRuns
from carrossel.targets.base import make_target
from carrossel.tuning import conducting, data, trial
from carrossel.tuning import study as studying
from carrossel.tuning.study import open_study, run_study
from carrossel.windows.tensor import window_series

SIZES = {"kind": "int", "low": 2, "high": 7}
GRID = {"trials": 6, "sampler": "grid", "space": {"cell.hidden_size": SIZES}}
ALONE = {**GRID, "pruner": "none"}


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(conducting, "_WAIT_S", 0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The grid's trials if nothing happens to them."""
    return finished_points(go(tmp_path_factory.mktemp("undisturbed"), walks.make_bars(200), **ALONE))


def go(root, bars, runs=None, progress=None, **changes):
    return run_study(make_plan(**changes), bars, root, open_run=runs or MemoryRuns(), progress=progress or Quiet())


def states(study):
    return [trial.state.name for trial in study.trials]


def reasons(study):
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return [trial.user_attrs["reason"] for trial in failed if "reason" in trial.user_attrs]


def failed_runs(runs):
    return [record.seen_tags["failed"] for _, parent, record in runs.seen if parent and "failed" in record.seen_tags]


def of_knob(key, *choices):
    space = {key: {"kind": "categorical", "choices": list(choices)}}
    return {"trials": len(choices), "sampler": "grid", "pruner": "none", "space": space}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (of_knob("training.weight_decay", 0.0, 1e38), "the loss became"),
        (of_knob("cell.hidden_size", 2, 10_000_000), "allocate"),
        (of_knob("training.accelerator", "cpu", "mps"), "mps"),
    ],
    ids=["a loss that isn't a number", "more memory than there is", "a device that isn't there"],
)
def test_a_trial_that_goes_wrong_fails_with_its_reason_and_the_study_goes_on(tmp_path, make_bars, changes, reason):
    runs = MemoryRuns()
    study = go(tmp_path, make_bars(200), runs, **changes)
    assert sorted(states(study)) == ["COMPLETE"] * (changes["trials"] - 1) + ["FAIL"]
    (told,) = reasons(study)
    assert reason in told.lower()
    assert failed_runs(runs) == [told]
    assert len(runs.seen) == 1 + changes["trials"]


def test_values_that_are_allowed_alone_but_not_together_fail_that_trial(tmp_path, make_bars):
    runs = MemoryRuns()
    space = {
        "cell.hidden_size": {"kind": "int", "low": 1, "high": 2},
        "cell.layer_norm": {"kind": "categorical", "choices": [True, False]},
    }
    study = go(tmp_path, make_bars(200), runs, trials=4, sampler="grid", pruner="none", space=space)
    assert sorted(states(study)) == ["COMPLETE", "COMPLETE", "COMPLETE", "FAIL"]
    (reason,) = reasons(study)
    assert "layer_norm takes the mean over the units" in reason
    assert failed_runs(runs) == [reason]


def test_trials_that_fail_are_replaced_until_there_are_as_many_as_asked(tmp_path, make_bars, monkeypatch):
    ask = itertools.count()

    def fit(*arguments, **options):
        if next(ask) in {1, 2}:
            raise MemoryError("Unable to allocate 8.00 EiB")
        return original(*arguments, **options)

    original = trial.fit
    monkeypatch.setattr(trial, "fit", fit)
    study = go(tmp_path, make_bars(200), trials=3, pruner="none")
    assert states(study) == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert reasons(study) == ["MemoryError: Unable to allocate 8.00 EiB"] * 2


def test_a_full_disk_of_a_worker_fails_the_trial_that_met_it(tmp_path, make_bars, monkeypatch):
    def full(arrays, path, digest):
        if "series" in arrays and next(writes) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(arrays, path, digest)

    writes, original = itertools.count(), data._write
    monkeypatch.setattr(data, "_write", full)
    study = go(tmp_path, make_bars(200), **of_knob("windows.scaler", "standard", "minmax"))
    assert sorted(states(study)) == ["COMPLETE", "FAIL"]
    assert reasons(study) == ["OSError: [Errno 28] No space left on device"]


def test_a_space_that_no_bars_can_answer_is_refused_before_the_first_trial(tmp_path, make_bars):
    lookback = {"windows.lookback": {"kind": "int", "low": 2, "high": 500}}
    with pytest.raises(SeriesTooShort, match="lookback=500"):
        go(tmp_path, make_bars(200), space=lookback)
    assert states(open_study(make_plan(space=lookback), tmp_path)) == ["WAITING"]  # the default, which goes first


class Balking:
    """A database that refuses some statements with a full disk's error."""

    def __init__(self, refuses):
        self.refused = 0
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", self)
        self._refuses = refuses

    def __call__(self, _connection, _cursor, statement, *_):
        if self._refuses(statement):
            self.refused += 1
            raise sqlalchemy.exc.OperationalError(statement, {}, sqlite3.OperationalError("database or disk is full"))

    def end(self):
        if sqlalchemy.event.contains(sqlalchemy.Engine, "before_cursor_execute", self):
            sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", self)


@pytest.fixture
def balk():
    """Lets databases refuse statements: `balk(refuses)`."""
    made = []

    def start(refuses):
        made.append(Balking(refuses))
        return made[-1]

    yield start
    for each in made:
        each.end()


def while_running(monkeypatch):
    """Whether the driver works on trials: opening a study is a moment of its own."""
    running = []

    def conduct(*arguments):
        running.append(True)
        try:
            original(*arguments)
        finally:
            running.clear()

    original = conducting.conduct
    monkeypatch.setattr(studying, "conduct", conduct)
    return running


def test_a_database_that_is_full_now_and_then_loses_nothing_and_counts_nothing_twice(
    tmp_path, make_bars, monkeypatch, patient, balk, undisturbed
):
    bars, runs = make_bars(200), MemoryRuns()
    running, statements = while_running(monkeypatch), itertools.count()
    full = balk(lambda _: running and next(statements) % 23 == 22)
    study = go(tmp_path, bars, runs, **ALONE)
    full.end()
    assert full.refused > 6
    assert finished_points(study) == undisturbed
    assert not reasons(study)
    assert len(runs.seen) == 7


@pytest.mark.parametrize("table", ["trial_intermediate_values", "UPDATE trials"])
def test_a_database_that_stays_full_ends_the_study_with_one_clear_error_and_the_next_driver_goes_on(
    tmp_path, make_bars, monkeypatch, patient, balk, undisturbed, table
):
    bars = make_bars(200)
    running, writes = while_running(monkeypatch), itertools.count()
    full = balk(lambda said: running and table in said and not said.startswith("SELECT") and next(writes) > 2)
    with pytest.raises(StudyError, match="database or disk is full"):
        go(tmp_path, bars, **ALONE)
    full.end()
    age(tmp_path)
    study = go(tmp_path, bars, **ALONE)
    assert finished_points(study) == undisturbed
    assert not reasons(study)


def test_a_driver_that_was_taken_for_dead_goes_on_and_its_trial_counts_once(tmp_path, make_bars, patient, undisturbed):
    """As after a laptop's sleep: another driver found its heartbeats stale and queued the trial again."""

    class Buried(Quiet):
        seen = 0

        def reported(self, *_, **__):
            self.seen += 1
            if self.seen == 3:
                age(tmp_path)
                study = open_study(make_plan(**ALONE), tmp_path)
                assert conducting.retry_stale(study) == [1]

    bars, runs = make_bars(200), MemoryRuns()
    study = go(tmp_path, bars, runs, Buried(), **ALONE)
    assert finished_points(study) == undisturbed
    assert len(runs.seen) == 7


def test_the_test_part_is_never_handed_out(tmp_path, make_bars):
    bars, plan = make_bars(200), make_plan()
    split = window_series(bars, plan.recipe.windows, make_target(plan.recipe.target)).split
    first_test_row = 170  # 0.7 and 0.15 of 200 rows
    assert split.test[0] - plan.recipe.windows.lookback == first_test_row
    go(tmp_path, bars)
    (file,) = (tmp_path / ".carrossel" / "tuning").rglob("bars.safetensors")
    shared = load_file(file)
    assert len(shared["close"]) == first_test_row
    assert shared["timestamp"].max() < bars["timestamp"].dt.as_unit("ns").astype("int64")[first_test_row]
    for name, rows in shared.items():
        if name.startswith(("train ", "validation ")):
            assert rows.max() + 1 < first_test_row  # its label too


@pytest.mark.parametrize(("poison", "folds"), [("missing", 1), ("absurd", 3)])
def test_whatever_the_test_part_holds_changes_no_bit_of_a_study(tmp_path, make_bars, poison, folds):
    bars = make_bars(200)
    poisoned = bars.copy()
    prices = ["open", "high", "low", "close", "volume"]
    if poison == "absurd":
        poisoned.loc[170:, prices] = np.geomspace(1e-30, 1e30, 30)[:, None] * np.ones(5)
    else:
        poisoned.loc[170:185, prices] = np.nan  # a study of one fold wants a test window to be left
        poisoned.loc[170:185, "status"] = "missing"
    space = {"cell.hidden_size": SIZES, "windows.lookback": {"kind": "int", "low": 2, "high": 6}}
    seen = []
    for name, each in (("clean", bars), ("poisoned", poisoned)):
        study = go(tmp_path / name, each, folds=folds, space=space)
        seen.append([(t.params, t.state, t.values, t.intermediate_values) for t in study.trials])
    assert seen[0] == seen[1]
