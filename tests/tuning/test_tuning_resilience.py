"""Drivers and workers are killed, databases fill up, trials go wrong: a study ends as if nobody had noticed."""

import contextlib
import errno
import itertools
import logging
import multiprocessing
import os
import shutil
import signal
import sqlite3

import dask
import numpy as np
import psutil
import pytest
import sqlalchemy
import walks
from distributed import LocalCluster
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from postgres import running_cluster
from safetensors.numpy import load_file
from study_drivers import (
    PRUNED_SIZES,
    Doomed,
    Quiet,
    Treacherous,
    age,
    drive,
    find_faults,
    find_repeated,
    find_runs,
    finished_points,
    impatient,
    make_plan,
)

from carrossel.errors import ConfigError, SeriesTooShort, StudyError
from carrossel.recorder import MemoryRuns
from carrossel.tuning import conducting, data, trial
from carrossel.tuning import study as studying
from carrossel.tuning.rows import study_rows
from carrossel.tuning.study import open_study, run_study
from carrossel.windows.tensor import window_series

SIZES = {"kind": "int", "low": 2, "high": 7}
GRID = {"trials": 6, "sampler": "grid", "space": {"cell.hidden_size": SIZES}}
MANY = {**GRID, "trials": 12, "space": {**GRID["space"], "training.batch_size": {"kind": "categorical", "choices": [16, 32]}}}
ALONE = {**GRID, "pruner": "none"}


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(conducting, "_WAIT_S", 0)


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
    return {"trials": len(choices), "sampler": "grid", "pruner": "none", "space": {key: {"kind": "categorical", "choices": list(choices)}}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (of_knob("training.weight_decay", 0.0, 1e38, 0.1), "the loss became"),
        (of_knob("cell.hidden_size", 2, 10_000_000, 3), "allocate"),
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
    assert not open_study(make_plan(space=lookback), tmp_path).trials


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
    tmp_path, make_bars, monkeypatch, patient, balk
):
    bars, runs = make_bars(200), MemoryRuns()
    undisturbed = finished_points(go(tmp_path / "undisturbed", bars, **ALONE))
    running, statements = while_running(monkeypatch), itertools.count()
    full = balk(lambda _: running and next(statements) % 23 == 22)
    study = go(tmp_path, bars, runs, **ALONE)
    full.end()
    assert full.refused > 6
    assert finished_points(study) == undisturbed
    assert not reasons(study)
    assert len(runs.seen) == 7


@pytest.mark.parametrize("table", ["trial_intermediate_values", "trial_user_attributes", "UPDATE trials", "trial_values"])
def test_a_database_that_stays_full_ends_the_study_with_one_clear_error_and_the_next_driver_goes_on(
    tmp_path, make_bars, monkeypatch, patient, balk, table
):
    bars = make_bars(200)
    running, writes = while_running(monkeypatch), itertools.count()
    full = balk(lambda said: running and table in said and not said.startswith("SELECT") and next(writes) > 2)
    with pytest.raises(StudyError, match="database or disk is full"):
        go(tmp_path, bars, **ALONE)
    full.end()
    age(tmp_path)
    study = go(tmp_path, bars, **ALONE)
    assert finished_points(study) == finished_points(go(tmp_path / "undisturbed", bars, **ALONE))
    assert not reasons(study)


def test_a_driver_that_was_taken_for_dead_goes_on_and_its_trial_counts_once(tmp_path, make_bars, patient):
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
    assert finished_points(study) == finished_points(go(tmp_path / "undisturbed", bars, **ALONE))
    assert len(runs.seen) == 7


@pytest.mark.parametrize("folds", [1, 3])
def test_the_test_part_is_never_handed_out(tmp_path, make_bars, monkeypatch, folds):
    bars, plan = make_bars(200), make_plan(folds=folds)
    split = window_series(bars, plan.recipe.windows, studying_target(plan)).split
    first_test_row = 170  # 0.7 and 0.15 of 200 rows
    assert split.test[0] - plan.recipe.windows.lookback == first_test_row
    go(tmp_path, bars, folds=folds)
    (file,) = (tmp_path / ".carrossel" / "tuning").rglob("bars.safetensors")
    shared = load_file(file)
    assert len(shared["close"]) == first_test_row
    assert shared["timestamp"].max() < bars["timestamp"].dt.as_unit("ns").astype("int64")[first_test_row]
    for name, rows in shared.items():
        if name.startswith(("train ", "validation ")):
            assert rows.max() + 1 < first_test_row  # its label too


def studying_target(plan):
    from carrossel.targets.base import make_target

    return make_target(plan.recipe.target)


@pytest.mark.parametrize("poison", ["absurd", "missing"])
@pytest.mark.parametrize("folds", [1, 3])
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


@pytest.fixture(scope="module")
def processes():
    """Processes that have imported everything, forked from one that did it once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["carrossel.tuning.study", "mlflow.store.tracking.sqlalchemy_store", "carrossel.tuning.crew.cluster"]
    )
    return context


@pytest.fixture(scope="module")
def empty_tracking(tmp_path_factory, processes):
    """MLflow's tables take seconds to make: once for all tests."""
    root = tmp_path_factory.mktemp("empty")
    maker = processes.Process(target=make_tables, args=(root,))
    maker.start()
    maker.join()
    return root / "mlflow.db"


def make_tables(root):
    from carrossel.tracking.config import Tracking
    from carrossel.tracking.store import open_tracking

    open_tracking(Tracking(), root)
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the file alone is copied


@pytest.fixture
def root(tmp_path, empty_tracking, monkeypatch):
    """A project's folder with a tracking store."""
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    shutil.copyfile(empty_tracking, tmp_path / "mlflow.db")
    for name in ("MLFLOW_TRACKING_URI", "CARROSSEL_STUDIES", "CARROSSEL_TRACKING_ROOT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def driver(processes, root, make_bars):
    """Runs a study in a driver of its own; its exit status."""

    def run(changes, **options):
        process = processes.Process(target=drive, args=(root, changes, make_bars(200)), kwargs=options)
        process.start()
        process.join(120)
        assert process.exitcode is not None
        return process.exitcode

    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What trials of the grid end with if nobody touches them."""
    study = go(tmp_path_factory.mktemp("undisturbed"), walks.make_bars(200), **{**MANY, "pruner": "none"})
    return {tuple(sorted(trial.params.items())): trial.value for trial in study.trials}


def check(study, root, undisturbed, trials):
    """What must hold of a study, whatever was done to it."""
    points = finished_points(study)
    assert len({drawn for drawn, _, _ in points}) == len(points) == trials
    for drawn, state, value in points:
        size = dict(drawn)["cell.hidden_size"]
        assert state == ("PRUNED" if size in PRUNED_SIZES else "COMPLETE")
        if state == "COMPLETE":
            assert value == undisturbed[drawn]
    assert find_faults(study, find_runs(root)) == []
    assert find_repeated(root) == []


MOMENTS = (5, 40, 3, 90, 60, 20, 8, 150)


def test_a_driver_killed_before_any_write_loses_nothing_and_counts_nothing_twice(root, driver, undisturbed):
    moments = iter(MOMENTS)
    killed = 0
    while (status := driver(MANY, deadline=next(moments, None))) == -signal.SIGKILL:
        killed += 1
        age(root)
    assert status == 0
    assert killed > 5
    check(open_study(make_plan(**MANY), root), root, undisturbed, 12)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Dask cluster of three workers; a task may kill one."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(
            n_workers=3,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            memory_limit=None,
            local_directory=str(tmp_path_factory.mktemp("dask")),
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request):
    """URL of a studies' database; None for sqlite beside the project."""
    if request.param == "sqlite":
        yield None
        return
    with running_cluster() as found:
        yield found


def test_a_worker_and_then_the_driver_killed_on_a_cluster_of_three_leave_no_trace(
    root, driver, cluster, undisturbed, url
):
    changes = {**MANY, "scheduler": cluster.scheduler_address, "storage": url}
    victim = next(iter(cluster.workers.values())).pid
    assert driver(changes, doom={"reported": 4, "other": victim, "ended": 6}) == -signal.SIGKILL
    assert not psutil.pid_exists(victim)
    assert driver(changes) == 0
    check(open_study(make_plan(**changes), root), root, undisturbed, 12)


def test_trials_that_kill_their_worker_or_fill_its_memory_or_disk_fail_alone(tmp_path, make_bars, cluster, monkeypatch):
    monkeypatch.setattr(studying, "Held", Treacherous)
    runs = MemoryRuns()
    changes = of_knob("windows.lookback", 2, 3, 4, 5, 6)
    study = go(tmp_path, make_bars(200), runs, **{**changes, "scheduler": cluster.scheduler_address})
    assert sorted(states(study)) == ["COMPLETE", "COMPLETE", "FAIL", "FAIL", "FAIL"]
    told = {t.params["windows.lookback"]: t.user_attrs["reason"] for t in study.trials if t.state == TrialState.FAIL}
    assert "every worker that tried it died" in told[3]
    assert told[4] == "MemoryError: Unable to allocate 8.00 EiB"
    assert told[5] == "OSError: [Errno 28] No space left on device"
    assert sorted(failed_runs(runs)) == sorted(told.values())


def test_a_killed_driver_takes_its_own_workers_along_and_another_number_of_them_goes_on(root, driver, undisturbed):
    survivors = root / "survivors.txt"
    assert driver({**MANY, "workers": 2}, doom={"ended": 3, "survivors": survivors}) == -signal.SIGKILL
    pids = [int(pid) for pid in survivors.read_text().split()]
    assert len(pids) >= 2
    alive = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    assert not psutil.wait_procs(alive, timeout=60)[1]
    assert driver(MANY) == 0
    check(open_study(make_plan(**MANY), root), root, undisturbed, 12)
