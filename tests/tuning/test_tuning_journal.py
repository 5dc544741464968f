"""A study's run and its trials' runs: one for each trial that ended, whatever happened to the driver."""

import optuna
import pytest
from matplotlib.figure import Figure
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from carrossel.recorder import MemoryRuns
from carrossel.tuning.journal import open_journal
from carrossel.tuning.trial import Outcome, Point

pytestmark = pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning"
)  # retries; the version is pinned
TAGS = {"cell": "rnn", "data_sha256": "d"}
CURVE = (Point(1, 0, 0, 0.1, 0.1, 3.0, 2.0), Point(2, 0, 1, 0.3, 0.3, 2.0, 1.5))
COMPLETE = Outcome("complete", (0.3,), CURVE, seconds=1.5, parameters=17)
PRUNED = Outcome("pruned", (), CURVE, "behind", 0.5, 17)
FAILED = Outcome("failed", (), (), "the loss became nan", 0.25)
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@pytest.fixture
def study():
    study = optuna.create_study(study_name="walk-rnn-1", direction="maximize")
    study.set_user_attr("objectives", ["skill"])
    study.set_user_attr("config", {"epochs": 2, "sampler": "tpe", "trials": 3, "workers": 2})
    return study


def ask(study):
    trial = study.ask()
    trial.suggest_int("cell.hidden_size", 3, 3)
    return study.trials[trial.number]


def end(study, journal, outcome):
    trial = ask(study)
    journal.record(trial, outcome)
    tell(study, trial, outcome)
    return study.trials[trial.number]


def tell(study, trial, outcome):
    if outcome.state == "failed":
        study._storage.set_trial_user_attr(trial._trial_id, "reason", outcome.reason)
    study.tell(trial.number, list(outcome.values) or None, state=STATES[outcome.state])


def kill(study, trial):
    """What the next driver does about a trial whose heartbeat stopped."""
    study.tell(trial.number, state=TrialState.FAIL)
    RetryHeartbeatStaleTrialCallback()(study, study.trials[trial.number])


def test_each_trial_that_ended_has_a_run_below_the_studys(study):
    runs = MemoryRuns()
    with open_journal(study, "walk", "rnn", TAGS, runs) as journal:
        ended = [end(study, journal, outcome) for outcome in (COMPLETE, PRUNED, FAILED)]
    assert [(name, parent) for name, parent, _ in runs.seen] == [
        ("study rnn", None),
        ("trial 0", "walk-rnn-1"),
        ("trial 1", "walk-rnn-1"),
        ("trial 2", "walk-rnn-1"),
    ]
    parent, complete, pruned, failed = (run for *_, run in runs.seen)
    assert study.user_attrs["run_id"] == parent.run_id
    assert parent.seen_params == {"epochs": 2, "sampler": "tpe"}  # not what may change while it runs
    assert [trial.user_attrs["run_id"] for trial in ended] == [f"walk-rnn-1/{n}" for n in range(3)]
    assert complete.seen_params == {"cell.hidden_size": 3}
    assert complete.seen_tags == TAGS
    assert pruned.seen_tags == {**TAGS, "pruned": "behind"}
    assert failed.seen_tags == {**TAGS, "failed": "the loss became nan"}
    first = {"skill": 0.1, "value": 0.1, "train_loss": 3.0, "validation_loss": 2.0}
    last = {"skill": 0.3, "value": 0.3, "train_loss": 2.0, "validation_loss": 1.5, "parameters": 17.0}
    assert complete.seen_metrics == [(1, first), (2, {**last, "seconds": 1.5, "validation_skill": 0.3})]
    assert pruned.seen_metrics == [(1, first), (2, {**last, "seconds": 0.5, "validation_skill": 0.3})]
    assert failed.seen_metrics == [(0, {"seconds": 0.25, "parameters": 0.0})]


def test_figures_that_are_no_numbers_are_left_out(study):
    runs = MemoryRuns()
    nan = float("nan")
    with open_journal(study, "walk", "rnn", TAGS, runs) as journal:
        end(study, journal, Outcome("failed", (), (Point(1, 0, 0, nan, float("-inf"), nan, 2.0),), "nan", 1.0, 5))
    assert runs.seen[1][2].seen_metrics == [(1, {"validation_loss": 2.0, "seconds": 1.0, "parameters": 5.0})]


def test_epochs_of_one_fold_that_is_one_step_follow_each_other(study):
    runs = MemoryRuns()
    curve = [Point(fold, fold, epoch, fold + epoch / 10, 0.0, 1.0, 1.0) for fold in (0, 1) for epoch in (0, 1)]
    with open_journal(study, "walk", "rnn", TAGS, runs) as journal:
        end(study, journal, Outcome("complete", (0.6,), tuple(curve), seconds=1.0, parameters=5))
    assert [(step, metrics["skill"]) for step, metrics in runs.seen[1][2].seen_metrics] == [
        (0, 0.0),
        (1, 0.1),
        (2, 1.0),
        (3, 1.1),
    ]


def test_a_resumed_study_goes_on_in_its_run(study):
    runs = MemoryRuns()
    for _ in range(2):
        with open_journal(study, "walk", "rnn", TAGS, runs) as journal:
            end(study, journal, COMPLETE)
    assert [name for name, *_ in runs.seen] == ["study rnn", "trial 0", "trial 1"]


def test_a_trial_repeated_after_a_kill_has_one_run_made_before_or_after_it(study):
    runs = MemoryRuns()
    with open_journal(study, "walk", "rnn", TAGS, runs) as journal:
        killed_late, killed_early = ask(study), ask(study)
        journal.record(killed_late, COMPLETE)  # and killed before the study was told
        kill(study, killed_late)
        kill(study, killed_early)
        repeated = [end(study, journal, COMPLETE) for _ in range(2)]
        kill(study, ask(study))
        twice = end(study, journal, COMPLETE)
    assert [trial.number for trial in repeated] == [2, 3]
    # 2 goes on in 0's run, 3 has its own, and all but 2 were made once
    assert [name for name, *_ in runs.seen] == ["study rnn", "trial 0", "trial 3", "trial 5"]
    assert [trial.user_attrs["run_id"] for trial in (*repeated, twice)] == [f"walk-rnn-1/{n}" for n in (0, 1, 4)]


def test_the_summary_has_best_counts_figures_and_the_reports_files(study, tmp_path):
    runs = MemoryRuns()
    (tmp_path / "figures").mkdir()
    for name in ("study.html", ".half"):
        (tmp_path / name).write_text("<p>")
    figure = Figure()
    with open_journal(study, "walk", "rnn", TAGS, runs) as journal:
        for outcome in (COMPLETE, PRUNED, FAILED):
            end(study, journal, outcome)
        kill(study, ask(study))  # counts for nothing
        end(study, journal, Outcome("complete", (0.5,), CURVE, seconds=1.0, parameters=17))
        journal.summarise(study, {"history": figure}, tmp_path)
    parent = runs.seen[0][2]
    assert parent.seen_tags == {**TAGS, "best.trial": "4", "best.cell.hidden_size": "3"}
    assert parent.seen_metrics == [
        (3, {"trials": 3, "complete": 2, "pruned": 1, "failed": 1, "best_validation_skill": 0.5})
    ]
    assert parent.seen_figures == {"figures/history.png": figure}
    assert parent.seen_artifacts == [("results", tmp_path / "study.html")]


def test_several_objectives_are_told_by_name():
    study = optuna.create_study(study_name="walk", directions=["maximize", "minimize", "minimize"])
    study.set_user_attr("objectives", ["skill", "latency", "parameters"])
    runs = MemoryRuns()
    with open_journal(study, "walk", "rnn", TAGS, runs) as journal:
        end(study, journal, Outcome("complete", (0.3, 40.0, 17.0), CURVE[:1], seconds=1.0, parameters=17))
        journal.summarise(study, {})
    metrics = runs.seen[1][2].seen_metrics[0][1]
    assert {name: metrics[name] for name in ("validation_skill", "latency_us", "parameters")} == {
        "validation_skill": 0.3,
        "latency_us": 40.0,
        "parameters": 17.0,
    }
    assert runs.seen[0][2].seen_metrics[0][1]["best_latency_us"] == 40.0
