"""Drivers that die, databases that balk and trials that go wrong, for tests of what holds afterwards."""

import errno
import os
import signal
import sqlite3
import warnings
from contextlib import closing
from dataclasses import replace

import psutil
import sqlalchemy
from optuna.trial import TrialState

from carrossel.tuning import conducting, storage
from carrossel.tuning.data import Held
from carrossel.tuning.study import run_study
from studies import plan

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
PRUNED_SIZES = {3, 5}


class Quiet:
    """Progress that nobody looks at."""

    def started(self, *_, **__):
        pass

    reported = ended = started


class Doomed(Quiet):
    """Progress that kills its driver as a trial ends, or another process as an epoch does.

    Args:
        ended: so many trials ended when the driver dies.
        reported: so many epochs were told when the other dies.
        other: its pid.
        survivors: file for the pids of the driver's children, written just before it dies.
    """

    def __init__(self, ended=None, reported=None, other=None, survivors=None):
        self._ended, self._reported, self._other, self._survivors = ended, reported, other, survivors
        self._seen = {"ended": 0, "reported": 0}

    def reported(self, *_, **__):
        self._seen["reported"] += 1
        if self._seen["reported"] == self._reported:
            victim = psutil.Process(self._other)
            victim.kill()
            victim.wait(60)

    def ended(self, *_, **__):
        self._seen["ended"] += 1
        if self._seen["ended"] == self._ended:
            if self._survivors:
                pids = [child.pid for child in psutil.Process().children(recursive=True)]
                self._survivors.write_text(" ".join(map(str, pids)))
            os.kill(os.getpid(), signal.SIGKILL)


class Treacherous(Held):
    """Data that some lookbacks don't get, each in a way of its own; needs no folder."""

    def windowed(self, windows, target, fold):
        if windows.lookback == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if windows.lookback == 4:
            raise MemoryError("Unable to allocate 8.00 EiB")
        if windows.lookback == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().windowed(windows, target, fold)


def drive(root, changes, bars, *, deadline=None, doom=None):
    """Run a study as a process of its own would, with runs in the folder's mlflow.db; for `multiprocessing`.

    Args:
        changes: of the plan.
        deadline: so many commits, of whichever database, until the driver kills itself before one more.
        doom: arguments of `Doomed`.
    """
    warnings.simplefilter("ignore")
    os.environ["CARROSSEL_ROOT"] = str(root)
    impatient()
    prune_some()
    if deadline is not None:
        die_after(deadline)
    from carrossel.tracking.mlflow_recorder import open_run

    run_study(make_plan(**changes), bars, root, open_run=open_run, progress=Doomed(**doom) if doom else Quiet())


def make_plan(**changes):
    """A small study on the readable loop: kernels would take a process longer to load than it takes to train."""
    small = plan(**changes)
    training = small.recipe.training.model_copy(update={"backend": "loop"})
    return replace(small, recipe=replace(small.recipe, training=training))


def impatient():
    """Let a driver's death be noticed in a second or two."""
    storage._HEARTBEAT_S, storage._STALE_AFTER_S = 1, 2
    conducting._LOOK_S, conducting._POLL_S, conducting._WAIT_S = 0.2, 0.1, 0.01


def prune_some():
    """Let values decide who is pruned, not who finished first."""
    import optuna

    optuna.Trial.should_prune = lambda trial: trial.params["cell.hidden_size"] in PRUNED_SIZES


def die_after(commits):
    """Die before a commit, when so many were made."""
    left = iter(range(commits))

    def count(_connection):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", count)


def age(root):
    """Let everything in the studies' database be of long ago, so that nobody waits for what died."""
    file = root / ".carrossel" / "studies.db"
    if not file.exists():
        return
    with closing(sqlite3.connect(file)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if {"trials", "trial_heartbeats"} <= tables:
            database.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00.000000'")
            database.execute("UPDATE trials SET datetime_complete = '2020-01-01 00:00:00.000000' WHERE state = 'FAIL'")
            database.commit()


def finished_points(study):
    """Complete and pruned trials as (values drawn, state, value), sorted."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    return sorted((tuple(sorted(trial.params.items())), trial.state.name, trial.value) for trial in trials)


def find_faults(study, tracked):
    """What doesn't hold of a finished study: nothing runs or waits, one run each in the right state.

    Args:
        tracked: the runs of its experiment, as MLflow has them.
    """
    wanted = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
    told = [t for t in study.trials if t.state in FINISHED or storage.failed_by_itself(t)]
    faults = [f"trial {t.number} is {t.state.name}" for t in study.trials if not t.state.is_finished()]
    runs = {run.info.run_id: run for run in tracked}
    parents = [run.info.status for run in tracked if "mlflow.parentRunId" not in run.data.tags]
    if parents != ["FINISHED"]:
        faults.append(f"runs of the study: {parents}")
    if len(runs) != len(told) + 1 or len({t.user_attrs.get("run_id") for t in told}) != len(told):
        faults.append(f"{len(told)} trials ended, {len(runs) - 1} runs")
    for trial in told:
        run = runs.get(trial.user_attrs.get("run_id"))
        if run is None:
            faults.append(f"trial {trial.number} has no run")
            continue
        pruned = run.data.tags.get("carrossel.pruned") == "true"
        if run.info.status != wanted[trial.state] or pruned != (trial.state == TrialState.PRUNED):
            faults.append(f"trial {trial.number} is {trial.state.name}, its run {run.info.status}, pruned: {pruned}")
        if {f"{value}" for value in trial.params.values()} != set(run.data.params.values()):
            faults.append(f"trial {trial.number} drew {trial.params}, its run {run.data.params}")
        if trial.state == TrialState.COMPLETE and "reason" in trial.user_attrs:
            faults.append(f"trial {trial.number} is complete and says {trial.user_attrs['reason']}")
    return faults


def find_runs(root):
    """Every run of the study's experiment."""
    from mlflow import MlflowClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's tables and queries, of which SQLAlchemy has much to say
        client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("walk")
        return list(client.search_runs([experiment.experiment_id])) if experiment else []


def find_repeated(root):
    """Metrics that were logged twice for a step, of any run."""
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        return database.execute(
            "SELECT run_uuid, key, step, count(*) FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
        ).fetchall()
