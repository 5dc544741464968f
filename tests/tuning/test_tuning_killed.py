"""Processes are killed: a driver before a write, workers in a trial, on sqlite, PostgreSQL and a Dask cluster of three."""

import contextlib
import multiprocessing
import shutil
import signal
import sqlite3

import dask
import psutil
import pytest
from optuna.trial import TrialState
from study_drivers import (
    PRUNED_SIZES,
    Quiet,
    Treacherous,
    age,
    drive,
    find_faults,
    find_repeated,
    find_runs,
    finished_points,
    make_plan,
)

import walks
from carrossel.recorder import MemoryRuns
from carrossel.tuning import storage
from carrossel.tuning import study as studying
from carrossel.tuning.study import open_study, run_study
from carrossel.workers import open_cluster
from postgres import running_cluster

pytestmark = pytest.mark.timeout(240)
MANY = {
    "trials": 12,
    "sampler": "grid",
    "space": {
        "cell.hidden_size": {"kind": "int", "low": 2, "high": 7},
        "training.batch_size": {"kind": "categorical", "choices": [16, 32]},
    },
}
LOOKBACKS = {"windows.lookback": {"kind": "categorical", "choices": [2, 3, 4, 5, 6]}}


def go(root, bars, runs=None, **changes):
    return run_study(make_plan(**changes), bars, root, open_run=runs or MemoryRuns(), progress=Quiet())


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


@pytest.fixture(autouse=True)
def _closed(monkeypatch):
    """No connection is left to the garbage collector."""
    opened = []

    def connect(url):
        opened.append(original(url))
        return opened[-1]

    original = storage._connect
    monkeypatch.setattr(storage, "_connect", connect)
    yield
    for each in opened:
        each.engine.dispose()


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
        if state == "PRUNED":
            assert dict(drawn)["cell.hidden_size"] in PRUNED_SIZES
        else:  # also one that was to be pruned, if its worker didn't hear the word in time
            assert value == undisturbed[drawn]
    assert find_faults(study, find_runs(root)) == []
    assert find_repeated(root) == []


def test_a_driver_killed_before_a_write_loses_nothing_and_counts_nothing_twice(root, driver, undisturbed):
    for commits in (5, 40, 90):
        assert driver(MANY, deadline=commits) == -signal.SIGKILL
        age(root)
    assert driver(MANY) == 0
    check(open_study(make_plan(**MANY), root), root, undisturbed, 12)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Dask cluster of three workers; the first death counts."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        open_cluster(3, tmp_path_factory.mktemp("dask"), "tuning") as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def url():
    """URL of a studies' database on a real PostgreSQL."""
    with running_cluster() as found:
        yield found


def test_a_worker_and_then_the_driver_killed_on_a_cluster_of_three_leave_no_trace(
    root, driver, cluster, undisturbed, url
):
    changes = {**MANY, "scheduler": cluster.scheduler_address, "storage": url}
    victim = next(iter(cluster.workers.values())).pid
    assert driver(changes, doom={"reported": 4, "other": victim, "ended": 6}) == -signal.SIGKILL
    assert driver(changes) == 0
    check(open_study(make_plan(**changes), root), root, undisturbed, 12)


def test_trials_that_kill_their_worker_or_fill_its_memory_or_disk_fail_alone(tmp_path, make_bars, cluster, monkeypatch):
    monkeypatch.setattr(studying, "Held", Treacherous)
    runs = MemoryRuns()
    changes = {"trials": 5, "sampler": "grid", "pruner": "none", "space": LOOKBACKS}
    study = go(tmp_path, make_bars(200), runs, **changes, scheduler=cluster.scheduler_address)
    assert sorted(t.state.name for t in study.trials) == ["COMPLETE", "COMPLETE", "FAIL", "FAIL", "FAIL"]
    told = {t.params["windows.lookback"]: t.user_attrs["reason"] for t in study.trials if t.state == TrialState.FAIL}
    assert "every worker that tried it died" in told[3]
    assert told[4] == "MemoryError: Unable to allocate 8.00 EiB"
    assert told[5] == "OSError: [Errno 28] No space left on device"
    failed = [record.seen_tags["failed"] for _, _, record in runs.seen if "failed" in record.seen_tags]
    assert sorted(failed) == sorted(told.values())


def test_a_killed_driver_takes_its_own_workers_along(root, driver):
    survivors = root / "survivors.txt"
    assert driver({**MANY, "workers": 2}, doom={"ended": 3, "survivors": survivors}) == -signal.SIGKILL
    pids = [int(pid) for pid in survivors.read_text().split()]
    assert len(pids) >= 2
    alive = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    assert not psutil.wait_procs(alive, timeout=60)[1]
