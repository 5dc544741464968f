"""`carrossel study`: what it prints and writes, and how it fails."""

import json

import pandas as pd
import pytest
import yaml
from filelock import FileLock
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from sqlalchemy import text
from typer.testing import CliRunner

from carrossel.bars.store import write_bars
from carrossel.cli import app
from carrossel.config import load_params
from carrossel.files import sha256
from carrossel.recorder import MemoryRuns
from carrossel.tuning.publishing import known_verdict
from carrossel.tuning.study import open_study, read_plan

SPACE = {
    "cell.hidden_size": {"kind": "int", "low": 2, "high": 6},
    "training.learning_rate": {"kind": "float", "low": 1e-3, "high": 1e-2, "log": True},
}
DISTRIBUTIONS = {
    "cell.hidden_size": IntDistribution(2, 6),
    "training.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
}


def run(*arguments):
    return CliRunner().invoke(app, ["study", *arguments])


@pytest.fixture
def walk(project, make_bars, monkeypatch):
    """A project with bars of one series and a small study of it to run."""
    monkeypatch.delenv("CARROSSEL_STUDIES", raising=False)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["datasets"] = {
        "walk": {"source": {"kind": "sample", "name": "bitcoin"}, "calendar": "24/7", "interval": "1h"}
    }
    params["windows"].update(lookback=4, features=["log_return"])
    params["cells"] = {"rnn": {"hidden_size": 3}}
    params["training"]["learning_rate"] = 0.02  # outside the space: the default isn't queued before trials made by hand
    params["tuning"] = {"cell": "rnn", "trials": 2, "epochs": 1, "space": SPACE}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    (project / "data" / "bars").mkdir(parents=True)
    write_bars(project / "data" / "bars" / "walk.parquet", make_bars(200))
    return project


def begin(root, *trials, **changes):
    """The study of params.yaml with trials by hand."""
    params = load_params()
    params["tuning"].update(changes)
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    plan = read_plan("walk", params, sha256(root / "data" / "bars" / "walk.parquet"))
    study = open_study(plan, root)
    study.add_trials(trials)
    return study


def ended(*values, size=5, rate=0.004, state=TrialState.COMPLETE, **about):
    drawn = {"cell.hidden_size": size, "training.learning_rate": rate}
    return create_trial(
        state=state,
        values=values or None,
        params=drawn,
        distributions=DISTRIBUTIONS,
        user_attrs={"seconds": 2.0, **about},
    )


PRUNED = ended(state=TrialState.PRUNED, reason="after 1 epochs")
FAILED = ended(state=TrialState.FAIL, reason="the loss became nan")


def test_where_nothing_was_begun_status_says_how_to_begin(walk):
    assert run("status").output == "No study yet. Begin one: carrossel study run DATASET\n"
    assert run("status", "--json").output == ""


def test_status_counts_trials_by_what_became_of_them_and_knows_whether_a_driver_lives(walk):
    study = begin(walk, ended(0.001), ended(0.0042), PRUNED, FAILED, trials=9)
    study.enqueue_trial({"cell.hidden_size": 2})
    study.enqueue_trial({"cell.hidden_size": 3})
    running = study.ask()
    study._storage.record_heartbeat(running._trial_id)
    told = run("status", "walk")
    assert told.output.startswith(
        f"{study.study_name} (walk, rnn): a driver is at work\n"
        "  3 of 9 trials: 2 complete, 1 pruned; 1 failed, 1 running, 1 waiting\n"
        "  best +0.42 % of trial 1; last activity "
    )
    with study._storage._backend.engine.begin() as connection:
        connection.execute(text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'"))
    assert "): no driver is at work\n" in run("status").output
    seen = json.loads(run("status", "--json").output)
    assert (seen["complete"], seen["best"], seen["best_trial"], seen["alive"]) == (2, 0.0042, 1, False)


def test_best_stands_beside_the_default_and_as_an_experiment(walk):
    begin(walk, ended(0.001), ended(0.0042, size=4), PRUNED)
    lines = run("best", "walk").output.splitlines()
    assert "best of 2 complete trials is trial 1, skill +0.42 % on validation." in lines[0]
    assert [line.split() for line in lines[2:5]] == [
        ["default", "best"],
        ["cell.hidden_size", "3", "4"],
        ["training.learning_rate", "0.02", "0.004"],
    ]
    assert lines[-1] == (
        "Train with it: dvc exp run train@walk-rnn -S cells.rnn.hidden_size=4 -S training.learning_rate=0.004"
    )


def test_several_objectives_have_a_front(walk):
    trials = (ended(0.003, 900.0, size=6), ended(0.001, 100.0, size=2), ended(0.0005, 500.0))
    begin(walk, *trials, objectives=["skill", "parameters"], pruner="none")
    told = run("best", "walk").output
    front = told[told.index("Pareto front") :].splitlines()
    assert [line.split()[:4] for line in front[3:5]] == [["1", "+0.10", "%", "100"], ["0", "+0.30", "%", "900"]]
    assert front[5] == ""


def test_the_best_configuration_and_every_trial_can_be_taken_along(walk, tmp_path):
    begin(walk, ended(0.001), ended(0.0042, size=4), FAILED)
    wanted = {"cells": {"rnn": {"hidden_size": 4}}, "training": {"learning_rate": 0.004}}
    patch = run("export", "walk").output
    assert patch.startswith("# ")
    assert yaml.safe_load(patch) == wanted
    assert run("export", "walk", "--out", str(tmp_path / "best.yaml")).exit_code == 0
    assert yaml.safe_load((tmp_path / "best.yaml").read_text()) == wanted
    assert run("export", "walk", "--out", str(tmp_path / "trials.csv")).exit_code == 0
    table = pd.read_csv(tmp_path / "trials.csv")
    assert list(table["state"]) == ["complete", "complete", "fail"]
    assert list(table["cell.hidden_size"]) == [5, 4, 5]


def test_a_report_keeps_the_verdict_on_what_is_still_the_best(walk):
    study = begin(walk, ended(0.0042))
    folder = walk / "reports" / "studies" / "walk"
    folder.mkdir(parents=True)
    verdict = {
        "data_sha256": study.user_attrs["data_sha256"],
        "best": dict(study.trials[0].params),
        "sentence": "The tuned rnn is no better.",
        **dict.fromkeys(("skill_default", "skill_best", "loss_ratio", "p_better", "p_worse"), 0.5),
        "default": {},
        "rows": 30,
    }
    (folder / "verdict.json").write_text(json.dumps(verdict))
    assert run("report", "walk").output == f"Report: {folder / 'study.html'}\n"
    assert "The tuned rnn is no better." in (folder / "study.html").read_text()
    assert known_verdict(study, folder) == verdict
    study.add_trial(ended(0.9, size=2))
    assert known_verdict(study, folder) is None


def test_a_run_goes_to_its_end_and_a_larger_one_adds_what_it_lacks(walk, monkeypatch):
    runs = MemoryRuns()
    monkeypatch.setattr("carrossel.tracking.session.Session", lambda: runs)
    done = run("run", "walk", "--trials", "1")
    assert done.exit_code == 0, done.output
    assert "tune@walk: 1/1 trial 0 complete: skill " in done.stderr
    assert done.stdout.startswith("tune@walk: best is trial 0, skill ")
    assert done.stdout.endswith("Train it in full and judge it on the test part: dvc repro tune@walk\n")
    assert (walk / "reports" / "studies" / "walk" / "study.html").is_file()
    assert "tune@walk: 2/2 trial 1 " in run("run", "walk").stderr
    assert [name for name, *_ in runs.seen] == ["study rnn", "trial 0", "trial 1"]


def test_a_stopped_run_says_how_to_go_on_and_reports_what_there_is(walk, monkeypatch):
    begin(walk, ended(0.0042))

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("carrossel.tuning.study.run_study", stop)
    stopped = run("run", "walk")
    assert stopped.exit_code == 130
    assert stopped.stderr.endswith(
        "tune@walk: stopped; nothing is lost. Go on with the same command: carrossel study run walk\n"
    )
    assert "trials.csv" in {file.name for file in (walk / "reports" / "studies" / "walk").iterdir()}


def test_a_run_keeps_out_of_the_stages_way(walk):
    lock = walk / ".carrossel" / "locks" / "tune@walk.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        refused = run("run", "walk")
    assert refused.exit_code == 1
    assert "another process runs the study of walk: the stage tune@walk or `carrossel study run`" in refused.stderr


@pytest.mark.parametrize("command", ["run", "best", "report", "export", "status"])
def test_an_unknown_dataset_is_named(walk, command):
    refused = run(command, "moon")
    assert refused.exit_code == 1
    assert refused.stderr == "carrossel: datasets.moon: datasets has no key 'moon'; it has: walk.\n"


@pytest.mark.parametrize("command", ["best", "report", "export"])
def test_a_study_that_was_not_begun_is_one_line(walk, command):
    for refused, what in (
        (run(command, "walk"), "Begin it: carrossel study run walk"),
        (run(command, "walk", "--study", "other"), "no study is called 'other'; there are: none."),
    ):
        assert refused.exit_code == 1
        assert what in refused.stderr
        assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["best", "export"])
def test_without_a_complete_trial_there_is_no_best(walk, command):
    begin(walk, PRUNED, FAILED)
    refused = run(command, "walk")
    assert refused.exit_code == 1
    assert "has no complete trial yet" in refused.stderr


def test_an_earlier_study_can_be_asked_for_by_its_name(walk):
    earlier = begin(walk, ended(0.0042))
    begin(walk, ended(0.001), epochs=7)
    assert "+0.10 %" in run("best", "walk").output
    assert "+0.42 %" in run("best", "walk", "--study", earlier.study_name).output


@pytest.mark.parametrize("command", [("status",), ("best", "walk"), ("run", "walk")])
def test_a_storage_that_is_away_is_one_line_without_its_password(walk, command, monkeypatch):
    monkeypatch.setenv("CARROSSEL_STUDIES", "postgresql://anna:geheim@127.0.0.1:1/studies")
    refused = run(*command)
    assert refused.exit_code == 1
    assert "can't keep studies" in refused.stderr
    assert "geheim" not in refused.stderr


def test_missing_bars_an_odd_name_and_a_folder_that_is_a_file_are_one_line_each(walk, tmp_path):
    begin(walk, ended(0.0042))
    (tmp_path / "file").write_text("")
    for out, what in (
        (tmp_path / "best.txt", "expected a name that ends in .yaml or .csv"),
        (tmp_path / "file" / "best.yaml", "Nothing was replaced; mend it and run again."),
    ):
        refused = run("export", "walk", "--out", str(out))
        assert refused.exit_code == 1
        assert what in refused.stderr
    (walk / "data" / "bars" / "walk.parquet").unlink()
    assert run("best", "walk").stderr.endswith("walk.parquet doesn't exist. Run: dvc repro prepare@walk\n")
