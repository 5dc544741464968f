"""A study ends with the trials asked for, survives a kill, and never looks at the test part."""

import contextlib

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from carrossel import cells
from carrossel.config import validate
from carrossel.errors import ConfigError, TrainingError
from carrossel.forecaster.heads.base import HeadConfig
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import TargetConfig
from carrossel.training.config import Recipe, Training
from carrossel.tuning.config import Tuning
from carrossel.tuning.space import apply, check_space
from carrossel.tuning.study import open_study, run_study, trials_table
from carrossel.windows.config import Windows

optuna.logging.set_verbosity(optuna.logging.WARNING)
pytestmark = pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning"
)  # heartbeats; the version is pinned
SPACE = {
    "cell.hidden_size": {"kind": "int", "low": 2, "high": 6},
    "training.learning_rate": {"kind": "float", "low": 1e-3, "high": 1e-2, "log": True},
}
RECIPE = Recipe(
    "walk",
    "tuned",
    "rnn",
    cells.registry.load("rnn").Config(hidden_size=3),
    Windows(lookback=4, features=("log_return",)),
    TargetConfig(kind="log_return"),
    HeadConfig(kind="point"),
    Training(epochs=9, batch_size=32, accelerator="cpu"),
)


def tuning(**changes):
    values = {"cell": "rnn", "trials": 3, "epochs": 2, "prune_after": 0, "space": SPACE, **changes}
    return validate(values, Tuning, "tuning")


class Runs:
    """Opens runs in memory and remembers them."""

    def __init__(self):
        self.opened = []

    @contextlib.contextmanager
    def __call__(self, dataset, name, *, key, tags=None, parent_run_id=None, resume_run_id=None):
        recorder = MemoryRecorder()
        recorder.run_id = name
        self.opened.append((name, parent_run_id, resume_run_id, recorder))
        yield recorder


def run(path, bars, config, runs=None):
    study = open_study(path / "studies.db", RECIPE, config, "hash")
    best = run_study(study, bars, RECIPE, config, data_sha256="hash", open_run=runs or Runs())
    return study, best


def test_a_study_ends_with_the_trials_asked_for_and_the_best_ones_recipe(tmp_path, make_bars):
    runs = Runs()
    study, best = run(tmp_path, make_bars(200), tuning(), runs)
    table = trials_table(study)
    assert len(table) == 3
    assert best.cell.hidden_size == study.best_params["cell.hidden_size"]
    assert best.training.epochs == 9
    assert [(name, parent) for name, parent, *_ in runs.opened] == [
        ("study rnn", None),
        ("trial 0", "study rnn"),
        ("trial 1", "study rnn"),
        ("trial 2", "study rnn"),
    ]


def test_a_finished_study_runs_no_trial_again_and_a_larger_one_only_what_it_lacks(tmp_path, make_bars):
    bars = make_bars(200)
    run(tmp_path, bars, tuning())
    again, more = Runs(), Runs()
    run(tmp_path, bars, tuning(), again)
    study, _ = run(tmp_path, bars, tuning(trials=5), more)
    assert [name for name, *_ in again.opened] == ["study rnn"]
    assert again.opened[0][2] == "study rnn"
    assert [name for name, *_ in more.opened] == ["study rnn", "trial 3", "trial 4"]
    assert len(trials_table(study)) == 5


def test_the_same_seed_draws_the_same_trials(tmp_path, make_bars):
    tables = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        tables.append(trials_table(run(tmp_path / name, make_bars(200), tuning())[0]))
    assert tables[0].equals(tables[1])


def test_a_study_interrupted_in_a_trial_goes_on(tmp_path, make_bars, monkeypatch):
    bars = make_bars(200)

    class Interrupting(Runs):
        def __call__(self, dataset, name, **options):
            if name == "trial 1":
                raise KeyboardInterrupt
            return super().__call__(dataset, name, **options)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, bars, tuning(), Interrupting())
    study, _ = run(tmp_path, bars, tuning())
    assert len(trials_table(study)) == 3


def test_the_test_part_is_never_looked_at(tmp_path, make_bars):
    bars = make_bars(200)
    changed = bars.copy()
    # the validation part's last label is at row 169: everything later may be anything
    changed.loc[170:, ["open", "high", "low", "close"]] *= np.linspace(2, 9, 30)[:, None]
    (tmp_path / "changed").mkdir()
    plain = trials_table(run(tmp_path, bars, tuning())[0])
    assert trials_table(run(tmp_path / "changed", changed, tuning())[0]).equals(plain)


def test_a_pruned_trial_is_marked_and_counted(tmp_path, make_bars, monkeypatch):
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: trial.number == 1)
    runs = Runs()
    study, _ = run(tmp_path, make_bars(200), tuning(), runs)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert "below the median" in runs.opened[2][3].seen_tags["pruned"]
    assert len(runs.opened[2][3].seen_metrics) == 2  # one epoch and the summary


def test_a_trial_that_fails_does_not_end_the_study(tmp_path, make_bars, monkeypatch):
    from carrossel.tuning import study as module

    original = module.fit

    def fit(data, recipe, *rest, **options):
        if "trial 0" in options["name"]:
            raise TrainingError("the loss became nan")
        return original(data, recipe, *rest, **options)

    monkeypatch.setattr(module, "fit", fit)
    study, _ = run(tmp_path, make_bars(200), tuning())
    assert len(trials_table(study)) == 3
    assert study.trials[0].state == TrialState.FAIL


def test_when_every_trial_fails_the_study_says_what_to_narrow(tmp_path, make_bars, monkeypatch):
    def fit(*_, **__):
        raise TrainingError("the loss became nan")

    monkeypatch.setattr("carrossel.tuning.study.fit", fit)
    with pytest.raises(TrainingError, match=r"none of 3 trials completed\. Narrow tuning\.space"):
        run(tmp_path, make_bars(200), tuning())


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"cell.hiden_size": SPACE["cell.hidden_size"]},
            r"cell\.hiden_size = 2: unknown key; allowed keys: hidden_size",
        ),
        ({"windows.lookback": {"kind": "int", "low": 2, "high": 9}}, "expected a key under cell, training"),
        ({"cell.hidden_size": {"kind": "int", "low": 0, "high": 9}}, r"hidden_size = 0: input should be greater"),
        ({"training.accelerator": {"kind": "categorical", "choices": ["cpu", "abacus"]}}, "'abacus'"),
    ],
)
def test_a_space_that_leads_out_of_bounds_is_told_before_the_first_trial(space, message):
    with pytest.raises(ConfigError, match=message):
        check_space(RECIPE, tuning(space=space))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "int", "low": 9, "high": 2}, "low = 9 is above high = 2"),
        ({"kind": "float", "low": 0, "high": 2, "log": True}, "must start above 0"),
        ({"kind": "categorical", "choices": []}, "at least 1 item"),
        ({"kind": "normal", "low": 0}, "kind"),
    ],
)
def test_an_impossible_range_is_named(spec, message):
    with pytest.raises(ConfigError, match=message):
        tuning(space={"cell.hidden_size": spec})


def test_apply_changes_only_what_it_names():
    changed = apply(RECIPE, {"cell.hidden_size": 5})
    assert changed.cell.hidden_size == 5
    assert changed.training == RECIPE.training
