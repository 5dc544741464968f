"""A study's report says what was found and how sure that is, from the study alone and in whatever state it is."""

import json

import optuna
import pandas as pd
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from carrossel.config import validate
from carrossel.evaluation.figures import render_png
from carrossel.tuning.config import Tuning
from carrossel.tuning.report.figures import figures
from carrossel.tuning.report.figures.trials import draw_history, draw_learning_curves, draw_pareto_front, rungs
from carrossel.tuning.report.figures.values import draw_importance, draw_slice
from carrossel.tuning.report.findings import REPEATED, find
from carrossel.tuning.report.sentences import (
    tell_best,
    tell_failures,
    tell_headlines,
    tell_importance,
    tell_trials,
    tell_verdict,
)
from carrossel.tuning.report.tables import compare_with_default, tabulate_trials
from carrossel.tuning.report.writing import write_report
from carrossel.tuning.samplers import make_pruner
from carrossel.tuning.storage import failed_by_itself

SPACE = {
    "cell.kind": CategoricalDistribution(("lstm", "gru")),
    "cell.hidden_size": IntDistribution(8, 64, log=True),
    "cell.forget_bias": FloatDistribution(0, 2),
    "training.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
}
SIZES = (8, 16, 32, 64)
PARAMS = {
    "datasets": {"walk": {}},
    "cells": {"lstm": {"hidden_size": 32}, "gru": {"hidden_size": 32}},
    "training": {"learning_rate": 0.01},
}
VERDICT = {
    "default": {"cell.hidden_size": 32},
    "best": {"cell.hidden_size": 64},
    "rows": 1234,
    "skill_default": 0.001,
    "skill_best": 0.002,
    "p_better": 0.04,
    "p_worse": 0.96,
    "sentence": "The tuned lstm's error is lower: tuning helped.",
}
ABOUT = {
    "dataset": "walk",
    "cell": "lstm",
    "data_sha256": "0123abcd",
    "code_revision": "fedcba",
    "config": {"sampler": "random", "pruner": "asha", "epochs": 9, "folds": 1, "prune_after": 1, "trials": 30},
    "default": {"cell.kind": "gru", "cell.hidden_size": 16, "training.learning_rate": 1e-3},
}


def new_study(objectives=("skill",), **about):
    study = optuna.create_study(
        study_name="walk-lstm-1", directions=["maximize"] + ["minimize"] * (len(objectives) - 1)
    )
    for name, value in {**ABOUT, "objectives": list(objectives), **about}.items():
        study.set_user_attr(name, value)
    return study


def add(study, params=(), values=None, state=TrialState.COMPLETE, curve=None, system=None, **attributes):
    params = dict(params)
    study.add_trial(
        create_trial(
            state=state,
            params=params,
            distributions={key: SPACE[key] for key in params},
            values=values,
            intermediate_values=curve or {},
            user_attrs=attributes,
            system_attrs=system or {},
        )
    )


def drawn(n, **more):
    """Trial n of a study whose skill hangs on the learning rate alone: 24 rates, evenly by their logarithm."""
    kind = "lstm" if n % 2 else "gru"
    bias = {"cell.forget_bias": n % 24 / 12} if kind == "lstm" else {}
    rate = 10 ** (-4 + 3 * (n * 7 % 24) / 23)
    return {"cell.kind": kind, "cell.hidden_size": SIZES[n % 4], "training.learning_rate": rate, **bias, **more}


def settled_study():
    study = new_study()
    for n in range(24):
        skill = 0.002 * (n * 7 % 24) / 23 + 0.000001 * (n % 5)
        add(
            study,
            drawn(n),
            [skill],
            curve={step: skill - 0.01 / step for step in range(1, 10)},
            seconds=2.0 + n % 3,
            parameters=99,
        )
    add(study, drawn(24), state=TrialState.PRUNED, curve={1: -0.03, 2: -0.02}, reason="behind", seconds=0.5)
    add(study, drawn(25), state=TrialState.PRUNED, curve={1: -0.04, 2: -0.03}, reason="behind", seconds=0.5)
    for _ in range(2):
        add(study, drawn(26), state=TrialState.FAIL, reason="out of memory", seconds=0.1)
    add(study, drawn(27), state=TrialState.FAIL)
    # The driver of trial 28 died; trial 29 repeats it.
    add(study, drawn(28), state=TrialState.FAIL)
    add(study, drawn(28), [0.0001], system={"retry_history": [28], "failed_trial": 28}, seconds=2.0)
    return study


@pytest.fixture(scope="module", autouse=True)
def _small_forests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("carrossel.tuning.variance._TREES", 16)
        yield


@pytest.fixture(scope="module")
def settled():
    return settled_study()


@pytest.fixture(scope="module")
def folder(settled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "walk"
    folder.mkdir()
    (folder / "old.txt").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("carrossel.tuning.report.writing.render_png", lambda figure, dpi: render_png(figure, dpi // 5))
        write_report(settled, folder, VERDICT, PARAMS)
    return folder


def test_the_folder_holds_tables_patch_verdict_page_and_figures_and_nothing_old(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.yaml", "figures", "importance.csv", "study.html", "trials.csv", "verdict.json",
    ]  # fmt: skip
    assert sorted(path.stem for path in (folder / "figures").iterdir()) == [
        "contour", "history", "importance", "learning_curves", "parallel_coordinates", "slice",
    ]  # fmt: skip
    assert json.loads((folder / "verdict.json").read_text()) == VERDICT


def test_every_trial_is_a_row_with_empty_cells_for_what_it_lacks(folder):
    table = pd.read_csv(folder / "trials.csv")
    assert list(table.columns) == [
        "number", "state", "skill", "seconds", "parameters", "epochs", "reason",
        "cell.kind", "cell.hidden_size", "training.learning_rate", "cell.forget_bias",
    ]  # fmt: skip
    assert table["state"].value_counts().to_dict() == {"complete": 25, "fail": 4, "pruned": 2}
    lines = (folder / "trials.csv").read_text().splitlines()
    assert lines[1].startswith("0,complete,0.0,2.0,99,9,,gru,8,0.0001,")
    assert lines[25].startswith("24,pruned,,0.5,,2,behind,gru,8,")


def test_the_key_that_decides_skill_explains_nearly_all_of_it(folder):
    table = pd.read_csv(folder / "importance.csv").set_index("key")
    assert table.index[0] == "training.learning_rate"
    assert table.loc["training.learning_rate", "fanova"] > 0.9
    assert table["ped_anova"].idxmax() == "training.learning_rate"
    assert table["ped_anova"].sum() == pytest.approx(1)
    assert pd.isna(table.loc["cell.forget_bias", "fanova"])  # only half of the trials drew it


def test_the_same_study_gives_the_same_shares(settled):
    assert find(settled).importance.equals(find(settled_study()).importance)


def test_the_best_configuration_is_a_patch_that_says_where_it_comes_from(folder):
    text = (folder / "best.yaml").read_text()
    assert text.startswith("# study walk-lstm-1, trial 17 of 31\n# validation skill +0.2 %: the highest of 25")
    assert "# bars 0123abcd\n# code fedcba\n" in text
    assert "dvc exp run train@walk-lstm" in text
    assert yaml.safe_load(text) == {
        "cells": {"lstm": {"hidden_size": 16, "forget_bias": 17 / 12}},
        "training": {"learning_rate": pytest.approx(0.1)},
    }


def test_the_page_says_first_what_was_found_how_sure_and_that_the_best_flatters(folder):
    page = (folder / "study.html").read_text()
    for words in (
        "training.learning_rate explains 9",
        "of the variance in skill over 25 complete trials",
        "The values drawn foretell",
        "It was chosen as the highest of 25, so part of it is luck",
        "The tuned lstm&#39;s error is lower: tuning helped.",
        "31 trials: 25 complete, 2 pruned, 3 failed, 1 repeated after their driver died.",
        "2 ×: out of memory",
        "1 ×: the driver died; queued again with the same values",
    ):
        assert words in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/png;base64,") == 6


def test_an_empty_study_has_a_report_that_says_so(tmp_path):
    write_report(optuna.create_study(study_name="new"), tmp_path / "r", None, PARAMS)
    assert (tmp_path / "r" / "best.yaml").read_text().startswith("# No trial is complete")
    assert not (tmp_path / "r" / "verdict.json").exists()
    page = (tmp_path / "r" / "study.html").read_text()
    assert "No trial is complete, so there is no best configuration." in page
    assert "Learning curves: not shown, since no trial has reported an epoch yet." in page


def test_a_study_of_failures_tells_their_reasons_and_draws_nothing():
    study = new_study()
    for reason in ("no memory", "disk full", "no memory"):
        add(study, drawn(1), state=TrialState.FAIL, reason=reason)
    assert figures(study) == {}
    assert tell_failures(find(study)) == ["2 ×: no memory", "1 ×: disk full"]


def test_a_trial_whose_driver_was_killed_as_it_told_the_end_has_no_reason_of_its_own():
    study = new_study()
    add(study, drawn(1), state=TrialState.FAIL, reason="after 2 epochs, behind", system={"dead": True})
    add(study, drawn(1), state=TrialState.PRUNED, reason="after 2 epochs, behind", system={"retry_history": [0]})
    assert [failed_by_itself(trial) for trial in study.trials] == [False, False]
    found = find(study)
    assert found.failures == {REPEATED: 1}
    assert tabulate_trials(found)["reason"].tolist() == [None, "after 2 epochs, behind"]


def test_one_trial_is_shown_and_nothing_concluded_from_it():
    study = new_study()
    add(study, drawn(1), [0.001], curve={1: 0.001})
    found = find(study)
    drawn_figures = figures(study)
    render_png(drawn_figures["history"], dpi=20)
    assert set(drawn_figures) == {"history", "slice", "parallel_coordinates", "learning_curves"}
    assert tell_importance(found) == [
        "Which knob matters can't be told from 1 complete trial: it takes 10, and 20 to lean on it."
    ]
    assert tell_best(found).endswith("It is the only complete trial: there was nothing to choose from.")


def test_a_key_with_one_value_explains_nothing():
    study = new_study()
    for n in range(12):
        study.add_trial(
            create_trial(
                value=n / 1000, params={"cell.layers": 1}, distributions={"cell.layers": IntDistribution(1, 1)}
            )
        )
    found = find(study)
    assert tell_importance(found)[0].startswith("No knob that every trial drew made any difference")
    assert isinstance(draw_importance(found), str)
    render_png(draw_slice(found), dpi=20)


def test_skill_that_hangs_on_nothing_drawn_isnt_explained():
    study = new_study()
    for n in range(24):
        # Neighbours on each axis take turns: whoever learns from some is wrong about the next.
        add(study, {"training.learning_rate": 10 ** (-4 + n / 8)}, [0.001 * (n % 2)])
    assert tell_importance(find(study))[0] == (
        "Which knob matters can't be told from 24 complete trials: the values drawn foretell nothing of the variance of trials "
        "that weren't shown."
    )


def test_shares_of_few_trials_are_called_noise():
    study = new_study()
    for n in range(12):
        add(study, {"training.learning_rate": 10 ** (-4 + n / 4)}, [0.001 * n])
    assert "From fewer than 20 complete trials such shares are mostly noise." in tell_headlines(find(study), None)[0]


def test_one_hopeless_trial_doesnt_make_up_the_variance():
    study = new_study()
    for n in range(24):
        add(study, drawn(n), [0.002 * (n * 7 % 24) / 23])
    # The gru of 8 units diverged once, at the learning rate that is best otherwise.
    add(study, drawn(0, **{"training.learning_rate": 0.1}), [-50.0])
    found = find(study)
    assert found.importance["key"][0] == "training.learning_rate"
    assert any(sentence.startswith("1 complete trial of skill below") for sentence in tell_importance(found))
    low, _ = draw_history(found).axes[0].get_ylim()
    assert low > -0.01


def test_several_objectives_have_a_front_and_no_learning_curves():
    study = new_study(("skill", "parameters"))
    for skill, parameters in ((0.001, 10.0), (0.002, 20.0), (0.0015, 30.0)):
        add(study, drawn(1), [skill, parameters], parameters=int(parameters))
    found = find(study)
    assert [trial.number for trial in found.front] == [0, 1]
    render_png(draw_pareto_front(found), dpi=20)
    assert "several objectives" in draw_learning_curves(found)
    assert list(tabulate_trials(found)["parameters"]) == [10, 20, 30]
    assert "2 trials of 3 are on the Pareto front" in tell_best(found)


def test_the_default_is_shown_beside_the_best_with_its_skill_if_it_was_tried():
    study = new_study()
    add(study, ABOUT["default"], [0.001])
    add(study, {**ABOUT["default"], "cell.hidden_size": 64}, [0.003])
    found = find(study)
    assert tell_best(found).startswith("Trial 1 is best: validation skill +0.3 %; the default's is +0.1 %.")
    assert compare_with_default(found)[:2] == [
        {"key": "cell.kind", "default": "gru", "best": "gru", "same": "same"},
        {"key": "cell.hidden_size", "default": "16", "best": "64", "same": ""},
    ]


def test_a_default_that_was_pruned_is_said_to_be():
    study = new_study()
    add(study, ABOUT["default"], state=TrialState.PRUNED, curve={1: -0.1})
    add(study, {**ABOUT["default"], "cell.hidden_size": 64}, [0.003])
    found = find(study)
    assert tell_best(found).startswith("Trial 1 is best: validation skill +0.3 %; the default was pruned.")
    assert tell_importance(found)[0].endswith("Pruned trials don't count here.")
    assert tell_trials(found)[-1] == "Drawn by chance; the default first; pruned by ASHA (Li et al. 2020)."


def test_a_default_of_another_cell_is_known_by_what_it_draws():
    study = new_study(default={**ABOUT["default"], "cell.forget_bias": 1.0})  # which a gru doesn't draw
    add(study, ABOUT["default"], [0.001])
    add(study, drawn(1), [0.003])
    assert find(study).default_trial.number == 0


def test_learning_curves_begin_at_the_first_epoch_and_the_first_fold():
    for pruner, curve in (("median", {1: 0.1, 2: 0.2}), ("wilcoxon", {0: 0.1, 1: 0.2})):
        study = new_study(config={"pruner": pruner, "epochs": 2, "folds": 2})
        add(study, drawn(1), [0.2], curve=curve)
        assert list(draw_learning_curves(find(study)).axes[0].lines[0].get_xdata()) == [1, 2]


def test_without_a_verdict_the_page_says_how_to_get_one():
    assert "dvc repro tune@walk" in tell_verdict(find(new_study()), None)


def test_who_drew_and_pruned_and_how_long_trials_took(settled):
    _, times, who = tell_trials(find(settled))
    assert times.startswith("In the median a complete trial 3 s and a pruned trial 0.5 s; all of them 75 s of work.")
    assert who == "Drawn by chance; pruned by ASHA (Li et al. 2020)."


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_rungs_are_where_the_pruner_compares(pruner):
    config = {"cell": "lstm", "pruner": pruner, "epochs": 6, "prune_after": 2}  # the last rung is a trial's last epoch
    space = {"cell.hidden_size": {"kind": "int", "low": 1, "high": 2}}
    pinned = make_pruner(validate({**config, "space": space}, Tuning, "tuning"))
    first, factor = pinned._min_resource, pinned._reduction_factor
    assert rungs(find(new_study(config=config))) == [first, first * factor] == [2, 6]
