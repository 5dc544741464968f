import pickle
import sqlite3
from contextlib import closing

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from carrossel.config import validate
from carrossel.errors import ConfigError, StudyError
from carrossel.tuning.config import Tuning
from carrossel.tuning.samplers import Samplers, count_grid, make_pruner, points_left
from carrossel.tuning.storage import open_storage, queue_again

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),  # the version is pinned
    pytest.mark.filterwarnings("ignore:Heartbeat of storage"),
]
SPACE = {
    "cell.kind": {"kind": "categorical", "choices": ["rnn", "lstm"]},
    "cell.hidden_size": {"kind": "int", "low": 2, "high": 64, "log": True},
    "cell.layers": {"kind": "int", "low": 1, "high": 1},
    "cell.forget_bias": {"kind": "float", "low": 0.0, "high": 2.0, "when": {"cell.kind": ["lstm"]}},
    "training.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "training.dropout": {"kind": "float", "low": 0.0, "high": 0.5, "step": 0.25},
}
GRID = {
    "cell.hidden_size": {"kind": "int", "low": 4, "high": 12, "step": 4},
    "training.dropout": {"kind": "float", "low": 0.0, "high": 0.3, "step": 0.1},
    "windows.features": {"kind": "categorical", "choices": [["log_return"], ["log_return", "volume"]]},
}
PLANE = {name: {"kind": "float", "low": 0.0, "high": 1.0} for name in ("training.x", "training.y")}


def tuning(sampler, **changes):
    space = GRID if sampler == "grid" else SPACE
    values = {"cell": "rnn", "epochs": 9, "startup_trials": 3, "pruner": "none", "sampler": sampler, "space": space}
    return validate(values | changes, Tuning, "tuning")


def begin(config, storage=None, name="study"):
    directions = ["maximize"] + ["minimize"] * (len(config.objectives) - 1)
    return optuna.create_study(
        study_name=name, storage=storage, directions=directions, pruner=make_pruner(config), load_if_exists=True
    )


def ask(study, config, samplers=None):
    study.sampler = (samplers or Samplers(config)).for_trial(study, len(study.get_trials(deepcopy=False)))
    trial = study.ask()
    for key, space in config.space.items():
        if all(trial.params.get(parent) in allowed for parent, allowed in space.when.items()):
            space.suggest(key, trial)
    return trial


def run(config, trials, study=None, *, anew=False, skill=None):
    """All trials' values; with `anew`, each by a driver that was just started."""
    study, samplers = study or begin(config), Samplers(config)
    for _ in range(trials):
        trial = ask(study, config, Samplers(config) if anew else samplers)
        good = skill(trial.params) if skill else -abs(np.log(trial.params.get("training.learning_rate", 1)) + 5)
        study.tell(trial, [good, *range(1, len(config.objectives))])
    return [trial.params for trial in study.get_trials(deepcopy=False)]


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "random", "gp"])
def test_draws_lie_in_the_space_and_are_the_same_for_the_same_seed(sampler):
    drawn = run(tuning(sampler), 4)

    for values in drawn:
        assert values["cell.kind"] in {"rnn", "lstm"}
        assert ("cell.forget_bias" in values) == (values["cell.kind"] == "lstm")
        assert 2 <= values["cell.hidden_size"] <= 64
        assert values["cell.layers"] == 1
        assert 1e-4 <= values["training.learning_rate"] <= 1e-1
        assert values["training.dropout"] in {0.0, 0.25, 0.5}
    assert {values["cell.kind"] for values in drawn} == {"rnn", "lstm"}
    assert len({values["training.learning_rate"] for values in drawn}) == 4
    assert drawn == run(tuning(sampler), 4)
    assert drawn[0] != run(tuning(sampler, seed=2), 1)[0]


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "grid"])
def test_a_resumed_study_draws_what_an_undisturbed_one_would_have(sampler):
    assert run(tuning(sampler), 4, anew=True) == run(tuning(sampler), 4)


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "grid"])
def test_two_objectives_can_be_sought_at_once(sampler):
    config = tuning(sampler, objectives=["skill", "parameters"])
    study = begin(config)
    run(config, 4, study)
    assert study.best_trials
    assert all(len(trial.values) == 2 for trial in study.trials)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "grid"])
def test_every_sampler_goes_with_hyperbands_brackets(sampler):
    config = tuning(sampler, pruner="hyperband", prune_after=1, startup_trials=3)
    study, samplers = begin(config), Samplers(config)
    for number in range(6):
        trial = ask(study, config, samplers)
        for step in range(9):
            trial.report(-float(number), step)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, -float(number))
    states = {trial.state for trial in study.get_trials(deepcopy=False)}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}


def test_the_pinned_settings_are_what_the_samplers_hold():
    study = begin(tuning("tpe"))
    tpe = Samplers(tuning("tpe", startup_trials=6)).for_trial(study, 3)
    assert (tpe._n_startup_trials, tpe._n_ei_candidates) == (6, 24)
    assert tpe._multivariate is tpe._group is tpe._constant_liar is True
    gp = Samplers(tuning("gp", startup_trials=6)).for_trial(study, 3)
    assert (gp._n_startup_trials, gp._deterministic) == (6, False)
    assert type(gp._independent_sampler) is optuna.samplers.RandomSampler
    seeded = [sampler._rng.rng.randint(10**6) for sampler in (tpe, gp, gp._independent_sampler)]
    expected = np.random.RandomState((1 * 1_000_003 + 3) % 2**32).randint(10**6)
    assert seeded == [expected] * 3


def test_a_grid_visits_each_point_exactly_once_although_trials_are_killed():
    config = tuning("grid")
    study = begin(config)
    visited = []
    for turn in range(100):
        if not points_left(config, study.trials):
            break
        if turn == 5:  # killed before it drew anything
            study.sampler = Samplers(config).for_trial(study, turn)
            trial = study.ask()
        else:
            trial = ask(study, config)
        if turn in {2, 5, 6, 12, 23, 26}:
            study.tell(trial, state=TrialState.FAIL)
            queue_again(study, trial.number)
        else:
            study.tell(trial, 0.0)
            visited.append(tuple(trial.params.values()))
    assert count_grid(config) == 24
    assert len(visited) == len(set(visited)) == 24
    assert len(study.get_trials(deepcopy=False)) == 24 + 6
    assert {point[2] for point in visited} == {"log_return", "log_return + volume"}


def test_a_trial_of_the_grid_that_failed_by_itself_isnt_tried_again():
    config = tuning("grid")
    study = begin(config)
    study.tell(ask(study, config), state=TrialState.FAIL)
    assert points_left(config, study.trials) == 23


def test_the_order_of_a_grid_is_drawn_from_the_seed():
    first, second = (run(tuning("grid", seed=seed), 24) for seed in (1, 2))
    assert first != second
    assert sorted(map(str, first)) == sorted(map(str, second))


def test_behind_the_last_point_of_a_grid_is_nothing():
    config = tuning("grid")
    study = begin(config)
    run(config, 24, study)
    with pytest.raises(StudyError, match="24 points were all tried"):
        ask(study, config)
    assert points_left(tuning("random"), study.trials) is None


def hill(values):
    return -((values["training.x"] - 0.8) ** 2) - (values["training.y"] - 0.3) ** 2


def distances(drawn):
    return [(-hill(values)) ** 0.5 for values in drawn]


def test_cmaes_climbs():
    drawn = run(tuning("cmaes", space=PLANE), 40, skill=hill)
    assert np.mean(distances(drawn[-6:])) < 0.15  # 0.45 at random
    assert np.mean(distances(drawn[:4])) > 0.2


def test_cmaes_goes_on_near_the_best_of_what_a_killed_driver_left():
    config = tuning("cmaes", space=PLANE)
    study = begin(config)
    run(config, 25, study, skill=hill)
    drawn = run(config, 6, study, skill=hill)[25:]
    assert np.mean(distances(drawn)) < 0.25


def test_cmaes_counts_pruned_trials_where_rungs_end_most_of_them():
    config = tuning("cmaes", space=PLANE, pruner="asha")
    study, samplers = begin(config), Samplers(config)
    for _ in range(40):
        trial = ask(study, config, samplers)
        trial.report(hill(trial.params), 1)
        study.tell(trial, state=TrialState.PRUNED)
    assert np.mean(distances([trial.params for trial in study.trials[-6:]])) < 0.15


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle from the database was loaded",))


def test_cmaes_writes_no_pickle_to_the_database_and_reads_none_from_it(tmp_path):
    config = tuning("cmaes", space=PLANE)
    study = begin(config, open_storage(None, tmp_path))
    run(config, 12, study, skill=hill)
    with closing(sqlite3.connect(tmp_path / ".carrossel" / "studies.db")) as database:
        written = "\n".join(database.iterdump())
    # what Optuna's own sampler leaves there, so that the search is known to find it
    naked = optuna.create_study(sampler=optuna.samplers.CmaEsSampler(seed=1))
    naked.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1), n_trials=15)
    left = [key for trial in naked.trials for key in trial.system_attrs]
    assert "cma:optimizer:0" in left
    assert "cma" not in written.replace("cmaes", "")
    assert all(trial.system_attrs == {} for trial in study.trials)

    bomb = {"cma:optimizer:0": pickle.dumps(Bomb()).hex(), "cma:generation": 0}
    last = study.trials[-1]
    study.add_trial(
        optuna.create_trial(value=1.0, params=last.params, distributions=last.distributions, system_attrs=bomb)
    )
    run(config, 4, begin(config, open_storage(None, tmp_path)), skill=hill)


def test_cmaes_needs_a_number():
    with pytest.raises(ConfigError, match="choose tpe or random"):
        tuning("cmaes", space={"cell.kind": SPACE["cell.kind"]})


def reports(curves, **changes):
    """How many reports each trial made before it was ended; curves run one after the other."""
    config = tuning("random", **changes)
    study = begin(config)
    made = []
    for curve in curves:
        trial = ask(study, config)
        for made_so_far, value in enumerate(curve, start=1):
            trial.report(value, made_so_far - (config.pruner == "wilcoxon"))  # folds are counted from 0
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, max(curve))
        made.append(made_so_far)
    return made


@pytest.mark.parametrize(("prune_after", "ended"), [(0, 1), (2, 2), (5, 5)])
def test_median_ends_whoever_is_worse_than_most_after_the_first_epochs(prune_after, ended):
    curves = [[0.5] * 9, [0.4] * 9, [0.1] * 9, [0.6] * 9, [0.0, 0.3, *[0.7] * 7]]
    found = reports(curves, pruner="median", prune_after=prune_after)
    assert found[:4] == [9, 9, ended, 9]
    assert found[4] == {0: 1, 2: 2, 5: 9}[prune_after]


def test_asha_lets_one_of_three_pass_each_rung():
    # rungs at 1, 3 and 9 epochs; a first trial has no rival
    curves = [[0.5] * 9, [0.4] * 9, [0.6] * 9, [0.1, 0.1, 0.1, *[0.9] * 6], [0.7, 0.7, *[0.2] * 7]]
    assert reports(curves, pruner="asha", prune_after=1) == [9, 1, 9, 1, 3]


def test_hyperband_ends_by_brackets_of_different_patience():
    curves = [[-float(number)] * 9 for number in range(30)]  # each worse than all before
    found = reports(curves, pruner="hyperband", prune_after=1)
    # three brackets, whose first rungs lie at 1, 3 and 9 epochs; the first of each has no rival
    assert set(found) == {1, 3, 9}
    assert found.count(1) > found.count(3)


def test_wilcoxon_ends_who_loses_fold_by_fold():
    best = [0.50, 0.60, 0.55, 0.70, 0.40, 0.65]
    worse = [value - 0.1 - k / 100 for k, value in enumerate(best)]
    mixed = [value + (0.1 + k / 100) * (-1) ** k for k, value in enumerate(best)]
    # 2^-4 = 0.06 < 0.1 < 2^-3: four lost folds in a row are enough
    assert reports([best, worse, mixed], pruner="wilcoxon", folds=6, prune_after=0) == [6, 4, 6]
    assert reports([best, worse], pruner="wilcoxon", folds=6, prune_after=5) == [6, 5]


def test_without_a_pruner_nobody_is_ended():
    assert reports([[0.5] * 9, [-9.0] * 9, [-10.0] * 9], pruner="none") == [9, 9, 9]


def test_the_pinned_settings_are_what_the_pruners_hold():
    def held(pruner, *names, **changes):
        made = make_pruner(tuning("random", pruner=pruner, prune_after=3, folds=2, **changes))
        return [getattr(made, f"_{name}") for name in names]

    assert held("median", "n_startup_trials", "n_warmup_steps", "interval_steps", "n_min_trials") == [2, 3, 1, 1]
    assert held("hyperband", "min_resource", "max_resource", "reduction_factor", "bootstrap_count") == [3, 18, 3, 0]
    assert held("asha", "min_resource", "reduction_factor", "min_early_stopping_rate", "bootstrap_count") == [
        3,
        3,
        0,
        0,
    ]
    assert held("wilcoxon", "p_threshold", "n_startup_steps") == [0.1, 3]
