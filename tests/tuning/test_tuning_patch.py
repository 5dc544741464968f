"""A study's best configuration, put into params.yaml or handed to DVC, is the recipe that the study means."""

from dataclasses import replace

import pytest
import yaml
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides

from carrossel.config import load_params
from carrossel.errors import ConfigError
from carrossel.training.config import read_recipe
from carrossel.tuning.patch import apply_patch, as_patch, as_set_arguments
from carrossel.tuning.space import apply

PARAMS = {
    "datasets": {"d": {"windows": {"features": ["log_return"]}}, "e": {}},
    "windows": {"lookback": 48, "features": ["log_range"]},
    "target": {"kind": "log_return", "scaler": "minmax"},
    "head": {"kind": "student_t", "min_scale": 0.1},
    "cells": {"lstm": {"hidden_size": 32}, "rnn": None},
    "training": {"learning_rate": 0.002, "epochs": 8},
}
DRAWN = {
    "cell.hidden_size": 41,
    "training.learning_rate": 0.1 + 0.2,
    "training.weight_decay": 1e-05,
    "windows.lookback": 60,
    "windows.features": "log_return + log_range",
    "target.scaler": "minmax",
}


def test_a_patch_names_the_kind_of_cell_and_the_datasets_own_section():
    patch = yaml.safe_load(
        as_patch({"cell.kind": "rnn", "cell.hidden_size": 5, "windows.lookback": 9}, "lstm", "d", PARAMS)
    )
    assert patch == {"cells": {"rnn": {"hidden_size": 5}}, "datasets": {"d": {"windows": {"lookback": 9}}}}


def test_a_patch_goes_to_the_general_section_where_the_dataset_has_none():
    assert yaml.safe_load(as_patch({"windows.features": "log_return"}, "lstm", "e", PARAMS)) == {
        "windows": {"features": ["log_return"]}
    }


def test_a_small_number_stays_a_number_and_comments_stay_comments():
    patch = as_patch({"training.weight_decay": 1e-05}, "lstm", "d", PARAMS, about=["two\nlines: [", "trial 3"])
    assert patch == "# two lines: [\n# trial 3\ntraining:\n  weight_decay: 1.0e-05\n"
    assert yaml.safe_load(patch) == {"training": {"weight_decay": 1e-05}}


def test_applying_a_patch_leaves_the_rest_and_its_argument_as_they_were():
    before = yaml.safe_dump(PARAMS)
    after = apply_patch(PARAMS, as_patch(DRAWN, "lstm", "d", PARAMS))
    assert after["cells"] == {"lstm": {"hidden_size": 41}, "rnn": None}
    assert after["datasets"]["d"]["windows"] == {"features": ["log_return", "log_range"], "lookback": 60}
    assert after["training"] == {"learning_rate": 0.30000000000000004, "epochs": 8, "weight_decay": 1e-05}
    assert yaml.safe_dump(PARAMS) == before


def test_another_head_takes_the_place_of_the_whole_section():
    after = apply_patch(PARAMS, as_patch({"head.kind": "point"}, "lstm", "d", PARAMS))
    assert after["head"] == {"kind": "point"}
    assert as_set_arguments({"head.kind": "point"}, "lstm", "d", PARAMS) == [
        "-S",
        "head.kind=point",
        "-S",
        "~head.min_scale",
    ]


def test_another_target_keeps_the_other_keys():
    assert apply_patch(PARAMS, as_patch({"target.kind": "price"}, "lstm", "d", PARAMS))["target"] == {
        "kind": "price",
        "scaler": "minmax",
    }


def test_arguments_add_keys_that_are_not_there_and_quote_what_isnt_a_word():
    values = {
        "cell.hidden_size": 41,
        "cell.bias": True,
        "training.note": "it's 1",
        "windows.features": "log_return + log_range",
    }
    assert as_set_arguments(values, "lstm", "d", PARAMS)[1::2] == [
        "cells.lstm.hidden_size=41",
        "++cells.lstm.bias=true",
        r"++training.note='it\'s 1'",
        "datasets.d.windows.features=[log_return,log_range]",
    ]


@pytest.mark.parametrize("patch", ["- a list", "{unclosed"])
def test_what_isnt_a_patch_is_refused(patch):
    with pytest.raises(ConfigError, match="patch"):
        apply_patch(PARAMS, patch)


def test_no_patch_changes_nothing():
    assert apply_patch(PARAMS, "# nothing\n") == PARAMS


@pytest.mark.parametrize(
    ("dataset", "values"),
    [
        ("google", DRAWN),
        ("bitcoin_volatility", {"cell.hidden_size": 12, "windows.lookback": 24, "windows.features": "log_variance"}),
        ("bitcoin", {"cell.kind": "gru", "cell.hidden_size": 9, "target.kind": "price", "training.batch_size": 64}),
        ("bitcoin", {"cell.kind": "lem", "cell.layers": 2, "cell.dropout": 2.5e-05}),
        ("google", {"head.kind": "quantiles", "training.clip_norm": 1e22}),
    ],
)
def test_params_yaml_with_the_best_configuration_reads_as_the_studys_best_recipe(project, dataset, values):
    path = project / "params.yaml"
    params = load_params(path)
    best = apply(read_recipe(dataset, "lstm", params, competitor="tuned"), values, params)

    patched = apply_patch(params, as_patch(values, "lstm", dataset, params))
    assert replace(read_recipe(dataset, best.kind, patched), competitor="tuned") == best

    arguments = as_set_arguments(values, "lstm", dataset, params)
    assert arguments[::2] == ["-S"] * len(values if "cell.kind" not in values else list(values)[1:])
    for file, overrides in to_path_overrides(arguments[1::2]).items():  # what `dvc exp run -S` does
        apply_overrides(file, overrides)
    assert replace(read_recipe(dataset, best.kind, load_params(path)), competitor="tuned") == best
