"""Search spaces: any knob of any section, conditions, and mistakes told before the first trial."""

from dataclasses import replace

import optuna
import pytest

from carrossel import cells
from carrossel.config import validate
from carrossel.errors import ConfigError
from carrossel.tuning.config import Tuning
from carrossel.tuning.space import apply, check_space, default_values, draw
from studies import PARAMS, RECIPE, SPACE, tuning


def space(**knobs):
    return tuning(space={key.replace("__", "."): knob for key, knob in knobs.items()}).space


def drawn(knobs, **values):
    """The recipe drawn where a sampler offers these values."""
    study = optuna.create_study()
    study.enqueue_trial({key.replace("__", "."): value for key, value in values.items()})
    trial = study.ask()
    return draw(RECIPE, knobs, trial, PARAMS), trial


def test_apply_changes_only_what_it_names():
    changed = apply(RECIPE, {"cell.hidden_size": 5}, PARAMS)
    assert changed.cell.hidden_size == 5
    assert replace(changed, cell=RECIPE.cell) == RECIPE


def test_any_section_has_knobs():
    changed = apply(
        RECIPE,
        {
            "cell.layers": 2,
            "training.clip_norm": 0.5,
            "windows.lookback": 7,
            "windows.features": "log_return + log_range",
            "head.kind": "quantiles",
            "target.kind": "price",
        },
        PARAMS,
    )
    assert (changed.cell.layers, changed.training.clip_norm, changed.windows.lookback) == (2, 0.5, 7)
    assert changed.windows.features == ("log_return", "log_range")
    assert (changed.head.kind, changed.target.kind) == ("quantiles", "price")


def test_another_kind_of_cell_brings_its_section_or_its_defaults_along():
    gru = apply(RECIPE, {"cell.kind": "gru", "cell.layers": 2}, PARAMS)
    assert (gru.kind, gru.cell.hidden_size, gru.cell.layers) == ("gru", 7, 2)
    assert isinstance(gru.cell, cells.registry.load("gru").Config)
    assert apply(RECIPE, {"cell.kind": "mgu"}, PARAMS).cell == cells.registry.load("mgu").Config()


def test_a_key_is_drawn_only_where_its_condition_holds():
    knobs = space(
        cell__kind={"kind": "categorical", "choices": ["lstm", "gru"]},
        cell__forget_bias={"kind": "float", "low": 2, "high": 3, "when": {"cell.kind": ["lstm"]}},
    )
    check_space(RECIPE, knobs, PARAMS)
    lstm, trial = drawn(knobs, cell__kind="lstm", cell__forget_bias=2.5)
    assert (lstm.cell.forget_bias, set(trial.params)) == (2.5, {"cell.kind", "cell.forget_bias"})
    gru, trial = drawn(knobs, cell__kind="gru")
    assert (gru.kind, set(trial.params)) == ("gru", {"cell.kind"})


def test_lists_of_names_are_choices():
    knobs = space(windows__features={"kind": "categorical", "choices": [["log_return"], ["log_return", "log_range"]]})
    check_space(RECIPE, knobs, PARAMS)
    recipe, trial = drawn(knobs, windows__features="log_return + log_range")
    assert recipe.windows.features == ("log_return", "log_range")
    assert trial.params == {"windows.features": "log_return + log_range"}


def test_the_default_is_told_in_the_spaces_own_terms():
    knobs = space(
        cell__hidden_size=SPACE["cell.hidden_size"],
        cell__kind={"kind": "categorical", "choices": ["rnn", "lstm"]},
        cell__forget_bias={"kind": "float", "low": 0, "high": 1, "when": {"cell.kind": ["lstm"]}},
        windows__features={"kind": "categorical", "choices": [["log_return"], ["log_range"]]},
    )
    assert default_values(RECIPE, knobs) == {
        "cell.hidden_size": 3,
        "cell.kind": "rnn",
        "windows.features": "log_return",
    }


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (
            {"cell.hiden_size": SPACE["cell.hidden_size"]},
            r"cell\.hiden_size = 2: unknown key; allowed keys: hidden_size",
        ),
        ({"tuning.trials": {"kind": "int", "low": 2, "high": 9}}, "expected a key under cell, training, windows"),
        ({"cell": {"kind": "int", "low": 2, "high": 9}}, "expected a key under"),
        ({"cell.hidden_size": {"kind": "int", "low": 0, "high": 9}}, "hidden_size = 0: input should be greater"),
        ({"training.accelerator": {"kind": "categorical", "choices": ["cpu", "abacus"]}}, "'abacus'"),
        ({"windows.train": {"kind": "float", "low": 0.1, "high": 0.7}}, "judged on the same rows"),
        ({"windows.horizon": {"kind": "int", "low": 1, "high": 2}}, "forecast the same bar"),
        ({"training.epochs": {"kind": "int", "low": 1, "high": 2}}, r"are tuning\.epochs"),
        ({"training.seed": {"kind": "int", "low": 1, "high": 2}}, "lucky seed"),
        ({"windows.features": {"kind": "categorical", "choices": [["log_retrun"]]}}, "'log_retrun' isn't a feature"),
        ({"target.kind": {"kind": "categorical", "choices": ["log_return", "direction"]}}, "judged in probability"),
        ({"cell.kind": {"kind": "categorical", "choices": ["rnn", "lstn"]}}, "lstn"),
        (
            {
                "cell.kind": {"kind": "categorical", "choices": ["lstm", "gru"]},
                "cell.forget_bias": {"kind": "float", "low": 0, "high": 3},
            },
            r"forget_bias = 0\.0: unknown key",
        ),
        (
            {
                "cell.kind": {"kind": "categorical", "choices": ["lstm", "gru"]},
                "cell.forget_bias": {"kind": "float", "low": 0, "high": 3, "when": {"cell.kind": ["lstn"]}},
            },
            "cell.kind is never 'lstn'",
        ),
    ],
)
def test_a_space_that_leads_out_of_bounds_is_told_before_the_first_trial(knobs, message):
    with pytest.raises(ConfigError, match=message):
        check_space(RECIPE, tuning(space=knobs).space, PARAMS)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "int", "low": 9, "high": 2}, "low = 9 is above high = 2"),
        ({"kind": "float", "low": 0, "high": 2, "log": True}, "must start above 0"),
        ({"kind": "float", "low": 1, "high": 2, "log": True, "step": 0.5}, "has no step"),
        ({"kind": "int", "low": 1, "high": 4, "step": 2}, "step = 2 doesn't lead from low = 1 to high = 4"),
        ({"kind": "categorical", "choices": []}, "at least 1 item"),
        ({"kind": "normal", "low": 0}, "kind"),
        ({"kind": "int", "low": 1, "high": 2, "when": {"cell.kind": ["lstm"]}}, "must stand in the space before it"),
    ],
)
def test_an_impossible_range_is_named(spec, message):
    with pytest.raises(ConfigError, match=message):
        tuning(space={"cell.hidden_size": spec})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["latency"]}, "must begin with skill"),
        ({"objectives": ["skill", "latency"]}, "pruner = median: several objectives can't be pruned"),
        ({"objectives": ["skill", "latency"], "pruner": "none", "sampler": "cmaes"}, "knows one objective"),
        ({"pruner": "wilcoxon"}, "compares folds"),
        ({"sampler": "grid"}, r"space\.training\.learning_rate needs a step"),
        (
            {"sampler": "cmaes", "space": {"cell.layers": {"kind": "categorical", "choices": [1, 2]}}},
            "the space has none",
        ),
        ({"sampler": "hope"}, r"tuning\.sampler = 'hope'"),
        ({"pruner": "shears"}, r"tuning\.pruner = 'shears'"),
    ],
)
def test_a_search_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        tuning(**changes)


def test_a_grids_values_are_counted():
    knobs = validate(
        {
            "cell": "rnn",
            "space": {
                "cell.hidden_size": {"kind": "int", "low": 2, "high": 8, "step": 3},
                "cell.dropout": {"kind": "float", "low": 0, "high": 0.3, "step": 0.1},
                "training.batch_size": {"kind": "categorical", "choices": [32, 64]},
            },
        },
        Tuning,
        "tuning",
    ).space
    assert knobs["cell.hidden_size"].values == (2, 5, 8)
    assert knobs["cell.dropout"].values == (0, 0.1, 0.2, 0.3)
    assert knobs["training.batch_size"].values == (32, 64)
