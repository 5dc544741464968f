"""Variance explained by hyper-parameters: closed forms, and Optuna's own trees."""

import itertools
import math

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.importance._fanova._tree import _FanovaTree

from carrossel.tuning.config import Choices, FloatRange, IntRange
from carrossel.tuning.variance import Forest, explain, make_axes

SPACE = {
    "training.learning_rate": FloatRange(kind="float", low=1e-4, high=1e-2, log=True),
    "cell.hidden_size": IntRange(kind="int", low=1, high=20),
    "training.batch_size": Choices(kind="categorical", choices=(128, 256, 512)),
}


def draw(skill, count, seed=0):
    """A table of random trials of the space whose skill is a known function."""
    rng = np.random.default_rng(seed)
    columns = {
        "cell": ["lstm"] * count,
        "training.learning_rate": np.exp(rng.uniform(math.log(1e-4), math.log(1e-2), count)),
        "cell.hidden_size": rng.integers(1, 21, count),
        "training.batch_size": rng.choice([128, 256, 512], count),
    }
    table = pd.DataFrame(columns)
    table["skill"] = [skill(*row) for row in table.iloc[:, 1:].itertuples(index=False)]
    return table


def test_shares_are_those_of_a_sum_with_a_product():
    """y = 2 u + v + 3 u v with u, v even on ±1 has variances 4/3, 1/3 and 1: shares 1/2, 1/8 and 3/8 of 8/3."""

    def skill(rate, hidden, _batch):
        u = (math.log10(rate) + 3) / 1
        v = (hidden - 10.5) / 10
        return 2 * u + v + 3 * u * v

    found = explain(draw(skill, 300), make_axes(SPACE))

    # 300 draws: steps instead of slopes, hence a few per cent.
    assert found.of("training.learning_rate").share == pytest.approx(1 / 2, abs=0.04)
    assert found.of("cell.hidden_size").share == pytest.approx(1 / 8, abs=0.04)
    assert found.of("cell.hidden_size", "training.learning_rate").share == pytest.approx(3 / 8, abs=0.04)
    assert found.of("training.batch_size").share < 0.01
    assert found.trust > 0.95
    assert sum(share.share for share in found.shares) == pytest.approx(1)


def test_a_choice_that_decides_all_explains_all():
    found = explain(draw(lambda _rate, _hidden, batch: float(batch == 256), 60), make_axes(SPACE))

    assert found.of("training.batch_size").share == pytest.approx(1, abs=1e-9)
    assert found.singles[0].keys == ("training.batch_size",)


def test_the_cell_is_one_more_key_over_all_cells():
    one, two = draw(lambda *_: 0.25, 30), draw(lambda *_: 0.75, 30, seed=1)
    found = explain(pd.concat([one, two.assign(cell="gru")]), make_axes(SPACE))

    assert found.of("cell").share == pytest.approx(1, abs=1e-9)
    # Of two values, 1/4 and 3/4 with equal weight, the deviation is 1/4.
    assert found.deviation == pytest.approx(0.25, abs=0.02)


def test_singles_and_pairs_are_those_of_optunas_trees():
    """On plain ranges Optuna weighs as we do: the same forest must give the same figures."""
    space = {
        "training.weight_decay": FloatRange(kind="float", low=0, high=1),
        "cell.hidden_size": IntRange(kind="int", low=1, high=8),
        "training.clip_norm": FloatRange(kind="float", low=-2, high=2),
    }
    rng = np.random.default_rng(5)
    columns = {
        "training.weight_decay": rng.uniform(0, 1, 12),
        "cell.hidden_size": rng.integers(1, 9, 12),
        "training.clip_norm": rng.uniform(-2, 2, 12),
    }
    a, b, c = columns.values()
    skill = a * b + np.sin(3 * c) * a
    axes = make_axes(space)
    table = pd.DataFrame({"cell": "lstm", "skill": skill, **columns})
    found = explain(table, sorted(axes, key=lambda axis: axis.key), seed=3)  # Optuna's order: the same forest

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    distributions = {
        "training.weight_decay": optuna.distributions.FloatDistribution(0, 1),
        # Optuna has whole numbers end at 1 and 8, which gives both half the weight of the others.
        "cell.hidden_size": optuna.distributions.FloatDistribution(0.5, 8.5),
        "training.clip_norm": optuna.distributions.FloatDistribution(-2, 2),
    }
    for row, value in zip(table[list(columns)].to_dict("records"), skill, strict=True):
        study.add_trial(optuna.create_trial(params=row, distributions=distributions, value=value))
    theirs = optuna.importance.FanovaImportanceEvaluator(n_trees=64, seed=3).evaluate(study)
    for key in columns:
        assert found.of(key).share == pytest.approx(theirs[key], rel=1e-6)

    from sklearn.ensemble import RandomForestRegressor

    keys = sorted(columns)
    bounds = np.array([[distributions[key].low, distributions[key].high] for key in keys])
    forest = RandomForestRegressor(64, random_state=3).fit(table[keys].to_numpy(), skill)
    trees = [_FanovaTree(tree.tree_, bounds) for tree in forest.estimators_]
    for i, j in itertools.combinations(range(3), 2):
        pair = [
            (
                tree.get_marginal_variance(np.array([i, j]))
                - sum(tree.get_marginal_variance(np.array([k])) for k in (i, j))
            )
            / tree.variance
            for tree in trees
        ]
        assert found.of(keys[i], keys[j]).share == pytest.approx(np.mean(pair), rel=1e-6)


def test_marginals_follow_the_function():
    table = draw(lambda rate, _hidden, _batch: math.log10(rate), 300)
    axes = make_axes(SPACE)
    forest = Forest(axes, table, table["skill"].to_numpy())
    curve = forest.marginal("training.learning_rate", count=5).mean(axis=0)

    # Five points from 1e-4 to 1e-2, evenly on the logarithmic scale; ends are means of a leaf.
    assert curve == pytest.approx([-4, -3.5, -3, -2.5, -2], abs=0.05)
    assert forest.marginal("training.batch_size", "cell.hidden_size", count=4).shape == (64, 3, 4)


def test_nothing_is_explained_by_few_trials_or_equal_skill():
    axes = make_axes(SPACE)

    assert explain(draw(lambda rate, *_: rate, 9), axes) is None
    assert explain(draw(lambda *_: 0.5, 30), axes) is None


def test_a_key_with_one_value_is_no_axis():
    space = {**SPACE, "training.clip_norm": FloatRange(kind="float", low=1, high=1)}

    assert [axis.key for axis in make_axes(space)] == list(SPACE)
