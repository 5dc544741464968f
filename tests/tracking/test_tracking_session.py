"""Many runs over one connection, and a server that is away costs them all one line."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import optuna
import pytest

from carrossel.tracking.session import Session
from carrossel.tuning.journal import open_journal
from carrossel.tuning.trial import Outcome, Point

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from carrossel.tracking.store import Store

optuna.logging.set_verbosity(optuna.logging.WARNING)
CURVE = tuple(Point(n, 0, n, 0.1 * n, 0.1 * n, 2.0, 1.0) for n in range(3))
COMPLETE = Outcome("complete", (0.2,), CURVE, seconds=1.0, parameters=9)
PRUNED = Outcome("pruned", (), CURVE, "behind", 1.0, 9)
FAILED = Outcome("failed", (), (), "OSError: no space left", 1.0)


def _study() -> optuna.Study:
    return optuna.create_study(study_name="bitcoin-lstm-1", direction="maximize")


def _ask(study: optuna.Study) -> FrozenTrial:
    trial = study.ask()
    trial.suggest_float("training.learning_rate", 0.1, 0.1)
    return study.trials[trial.number]


def test_a_studys_trials_are_nested_runs_in_their_states(store: Store) -> None:
    study = _study()
    with open_journal(study, "bitcoin", "lstm", {"cell": "lstm"}, Session(store)) as journal:
        for outcome in (COMPLETE, PRUNED, FAILED):
            journal.record(_ask(study), outcome)
    parent = store.client.get_run(study.user_attrs["run_id"])
    assert (parent.info.run_name, parent.info.status) == ("study lstm", "FINISHED")
    found = [store.client.get_run(trial.user_attrs["run_id"]) for trial in study.trials]
    assert [run.info.status for run in found] == ["FINISHED", "KILLED", "FAILED"]
    assert [run.data.tags.get("carrossel.ended") for run in found] == [None, "behind", "OSError: no space left"]
    assert {run.data.tags["mlflow.parentRunId"] for run in found} == {parent.info.run_id}
    assert found[0].data.params == {"training.learning_rate": "0.1"}
    assert [m.step for m in store.client.get_metric_history(found[0].info.run_id, "skill")] == [0, 1, 2]
    assert found[0].data.metrics["validation_skill"] == 0.2


def test_a_driver_killed_between_run_and_study_leaves_one_run(store: Store) -> None:
    study = _study()
    with open_journal(study, "bitcoin", "lstm", {}, Session(store)) as journal:
        journal.record(_ask(study), PRUNED)  # and killed
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.WAITING, system_attrs={"failed_trial": 0, "retry_history": [0]}
        )
    )
    with open_journal(study, "bitcoin", "lstm", {}, Session(store)) as journal:
        journal.record(_ask(study), COMPLETE)
    experiment = store.client.get_experiment_by_name("bitcoin")
    runs = {run.info.run_name: run for run in store.client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {"study lstm": "FINISHED", "trial 1": "FINISHED"}
    assert "carrossel.pruned" not in runs["trial 1"].data.tags


@pytest.mark.timeout(30)
def test_a_server_that_is_away_costs_a_study_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{listener.getsockname()[1]}")
        study = _study()
        with open_journal(study, "bitcoin", "lstm", {}, Session()) as journal:
            for _ in range(3):
                journal.record(_ask(study), COMPLETE)
            journal.summarise(study, {})
    (line,) = capfd.readouterr().err.splitlines()
    assert "doesn't answer" in line
    assert "run_id" not in study.user_attrs


def test_a_store_that_fails_in_one_run_is_left_alone_by_all(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from mlflow.exceptions import MlflowException

    calls = 0

    def fail(*args: object, **kwargs: object) -> None:
        nonlocal calls
        calls += 1
        raise MlflowException("database or disk is full")

    study = _study()
    with open_journal(study, "bitcoin", "lstm", {}, Session(store)) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(store.client, "log_batch", fail)
            for _ in range(3):
                journal.record(_ask(study), COMPLETE)
        journal.summarise(study, {})
    assert calls == 1
    assert capfd.readouterr().err.count("\n") == 1
    parent = store.client.get_run(study.user_attrs["run_id"])
    assert parent.info.status == "FAILED"  # it has holes
    assert "was away" in parent.data.tags["carrossel.ended"]
