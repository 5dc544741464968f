"""A study ends with the trials asked for, goes on where it was, and looks at what it may look at."""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from carrossel.errors import StudyError, TrainingError
from carrossel.training.fitting import fit
from carrossel.tuning import study as studying
from carrossel.tuning.study import best_recipe, best_trial, find_study, open_study
from studies import RECIPE, SPACE, Runs, plan, run

GRID = {
    "cell.hidden_size": {"kind": "int", "low": 2, "high": 3},
    "training.batch_size": {"kind": "categorical", "choices": [16, 32]},
}


def table(study):
    """What decides nothing about time."""
    return study.trials_dataframe(attrs=("number", "state", "value", "params"))


def test_a_study_ends_with_the_trials_asked_for_and_the_best_ones_recipe(tmp_path, make_bars):
    runs = Runs()
    study = run(tmp_path, make_bars(200), runs)
    assert len(study.trials) == 3
    best = best_recipe(study, plan())
    assert best.cell.hidden_size == best_trial(study).params["cell.hidden_size"]
    assert best.training.learning_rate == best_trial(study).params["training.learning_rate"]
    assert best.training.epochs == 9
    assert [(name, parent) for name, parent, *_ in runs.opened] == [
        ("study rnn", None),
        ("trial 0", "study rnn"),
        ("trial 1", "study rnn"),
        ("trial 2", "study rnn"),
    ]


def test_the_default_is_the_first_trial_where_the_space_holds_it(tmp_path, make_bars):
    study = run(tmp_path / "in", make_bars(200), trials=2)
    assert study.trials[0].params == study.user_attrs["default"]
    outside = {"cell.hidden_size": {"kind": "int", "low": 4, "high": 6}}
    assert run(tmp_path / "out", make_bars(200), trials=1, space=outside).trials[0].params["cell.hidden_size"] >= 4


def test_a_study_keeps_what_a_report_needs(tmp_path, make_bars):
    study = run(tmp_path, make_bars(200), pruner="none")
    assert study.user_attrs["dataset"] == "walk"
    assert study.user_attrs["default"] == {"cell.hidden_size": 3, "training.learning_rate": 0.001}
    assert study.user_attrs["data_sha256"] == "hash"
    assert "storage" not in study.user_attrs["config"]
    for trial in study.trials:
        assert list(trial.intermediate_values) == [1, 2]
        assert trial.value == max(trial.intermediate_values.values())
        assert trial.user_attrs["seconds"] > 0
        # rnn: W_x, W_h and b of h units, then the head's line
        units = trial.params["cell.hidden_size"]
        assert trial.user_attrs["parameters"] == units * (1 + units + 1) + units + 1


def test_a_finished_study_runs_no_trial_again_and_a_larger_one_only_what_it_lacks(tmp_path, make_bars):
    bars = make_bars(200)
    run(tmp_path, bars)
    again, more = Runs(), Runs()
    run(tmp_path, bars, again)
    study = run(tmp_path, bars, more, trials=5)
    assert again.opened == []
    assert [name for name, *_ in more.opened] == ["study rnn", "trial 3", "trial 4"]
    assert more.opened[0][2] == "study rnn"
    assert len(study.trials) == 5


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_draws_the_same_trials(tmp_path, make_bars, sampler):
    first, second = (
        table(run(tmp_path / name, make_bars(200), sampler=sampler, startup_trials=2, trials=4, epochs=1))
        for name in ("first", "second")
    )
    assert first.equals(second)


def test_a_grid_tries_each_point_once_and_then_ends(tmp_path, make_bars):
    study = run(tmp_path, make_bars(200), space=GRID, sampler="grid", trials=60, epochs=1)
    points = {tuple(trial.params.values()) for trial in study.trials}
    assert len(study.trials) == 4
    assert points == {(2, 16), (2, 32), (3, 16), (3, 32)}


def test_a_study_interrupted_in_a_trial_repeats_it(tmp_path, make_bars, monkeypatch):
    bars = make_bars(200)
    calls = []

    def interrupted(*rest, **options):
        calls.append(options["name"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*rest, **options)

    monkeypatch.setattr("carrossel.tuning.trial.fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, bars, pruner="none")
    study = run(tmp_path, bars, pruner="none")
    assert [trial.state for trial in study.trials] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.COMPLETE,
        TrialState.COMPLETE,
    ]
    assert study.trials[1].params == study.trials[2].params
    undisturbed = run(tmp_path / "undisturbed", bars, pruner="none")
    assert table(study)["value"].dropna().to_list() == table(undisturbed)["value"].to_list()


def test_a_pruned_trial_is_counted_and_says_when(tmp_path, make_bars, monkeypatch):
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: trial.number == 1)
    runs = Runs()
    study = run(tmp_path, make_bars(200), runs)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert study.trials[1].user_attrs["reason"] == "after 1 epoch, behind the trials before it"
    assert list(study.trials[1].intermediate_values) == [1]


def test_the_default_is_never_pruned_nor_is_a_trial_that_ran_to_its_end(tmp_path, make_bars, monkeypatch):
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: True)
    study = run(tmp_path / "early", make_bars(200))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED]
    once = run(tmp_path / "once", make_bars(200), epochs=1)
    assert {trial.state for trial in once.trials} == {TrialState.COMPLETE}


def test_skill_is_the_median_of_the_folds_best_epochs(tmp_path, make_bars, monkeypatch):
    skills = {}

    def noted(data, recipe, *rest, **options):
        done = fit(data, recipe, *rest, **options)
        skills.setdefault(options["name"], []).append(max(row["validation_skill"] for row in done.history))
        return done

    monkeypatch.setattr("carrossel.tuning.trial.fit", noted)
    study = run(tmp_path, make_bars(200), folds=3, trials=2, pruner="none")
    for trial in study.trials:
        folds = skills[f"tune@walk trial {trial.number}"]
        assert len(folds) == 3
        assert trial.value == np.median(folds)
        assert list(trial.intermediate_values) == [1, 2, 3, 4, 5, 6]


def test_wilcoxon_is_told_each_folds_own_skill(tmp_path, make_bars):
    study = run(tmp_path, make_bars(200), folds=3, trials=2, pruner="wilcoxon")
    for trial in study.trials:
        assert list(trial.intermediate_values) == [0, 1, 2]
        assert trial.value == np.median(list(trial.intermediate_values.values()))


def test_several_objectives_make_a_front(tmp_path, make_bars):
    study = run(
        tmp_path,
        make_bars(200),
        objectives=["skill", "parameters", "latency"],
        pruner="none",
        sampler="random",
        trials=4,
    )
    for trial in study.trials:
        skill, parameters, latency = trial.values
        assert skill < 1
        assert parameters == trial.user_attrs["parameters"]
        assert latency > 0
    assert {trial.number for trial in study.best_trials} >= {best_trial(study).number}
    assert best_trial(study).values[0] == max(trial.values[0] for trial in study.trials)


@pytest.mark.parametrize("folds", [1, 2])
def test_the_test_part_is_never_looked_at(tmp_path, make_bars, folds):
    bars = make_bars(200)
    changed = bars.copy()
    changed.loc[170:, ["open", "high", "low", "close"]] *= np.linspace(2, 9, 30)[:, None]
    plain = table(run(tmp_path / "plain", bars, folds=folds))
    assert table(run(tmp_path / "changed", changed, folds=folds)).equals(plain)


def test_when_every_trial_fails_the_study_says_why_and_what_to_narrow(tmp_path, make_bars, monkeypatch):
    def diverging(*_, name, **__):
        raise TrainingError(f"{name}: the loss became nan")

    monkeypatch.setattr("carrossel.tuning.trial.fit", diverging)
    message = r"tune@walk: none of 3 trials completed; the last: the loss became nan\. Narrow tuning\.space"
    with pytest.raises(StudyError, match=message):
        run(tmp_path, make_bars(200))


def test_the_last_reason_is_a_failed_trials_own():
    study = optuna.create_study()
    for state, reason, marks in (
        ("FAIL", "no memory", {}),
        ("PRUNED", "behind", {}),
        ("FAIL", "behind", {"dead": True}),
    ):
        study.add_trial(
            optuna.trial.create_trial(state=TrialState[state], user_attrs={"reason": reason}, system_attrs=marks)
        )
    assert "none of 3 trials completed; the last: no memory." in studying._why_none(study)


def test_a_study_that_was_not_begun_is_named(tmp_path, make_bars):
    with pytest.raises(StudyError, match="Begin it: carrossel study run walk"):
        find_study(plan(), tmp_path)
    run(tmp_path, make_bars(200))
    assert len(find_study(plan(), tmp_path).trials) == 3
    with pytest.raises(StudyError, match="no complete trial"):
        best_trial(open_study(plan(seed=2), tmp_path))


def test_other_data_another_space_or_another_default_is_another_study():
    names = {
        plan().name,
        plan(seed=2).name,
        plan(epochs=3).name,
        plan(space={"cell.hidden_size": SPACE["cell.hidden_size"]}).name,
    }
    assert len(names) == 4
    assert plan(trials=99, workers=2, storage="sqlite:///elsewhere.db").name == plan().name
    assert RECIPE.dataset in plan().name
