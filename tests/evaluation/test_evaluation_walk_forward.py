from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from evaluation_models import ROWS, make_forecasts_that_know, make_walk_forward

from carrossel.errors import ModelError
from carrossel.evaluation.competitors import read_competitors
from carrossel.evaluation.scoring import evaluate
from carrossel.evaluation.walk_forward.results import judge_walk_forward
from carrossel.evaluation.walk_forward.rows import read_walk_forward

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carrossel.targets.base import Unit

EXACT = {"rel": 1e-9}  # prices near 100 are rounded at 1e-14, their differences of 1 at 1e-12


def judge(path: Path, table: pd.DataFrame, unit: Unit = "price") -> dict[str, Any]:
    table.to_parquet(path / "toy.parquet", index=False)
    return judge_walk_forward(read_walk_forward(path / "toy.parquet"), unit)


def test_one_seeds_skill_is_told_by_mean_and_spread_and_the_average_forecast_is_judged(tmp_path: Path) -> None:
    found = judge(tmp_path, make_walk_forward({"gru": {1: 0.0, 2: 0.1}}))["models"]["gru"]
    assert found["skills"] == {"1": 0, "2": pytest.approx(1 - 0.9**2, **EXACT)}
    assert found["mean_skill"] == pytest.approx(0.095, **EXACT)
    assert found["spread"] == pytest.approx(0.19 / 2**0.5, **EXACT)  # of two numbers: their distance / √2
    assert found["judgement"]["skill"] == pytest.approx(1 - 0.95**2, **EXACT)  # the average knows half as much
    assert found["judgement"]["verdict"] == "beats persistence"


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    assert judge(tmp_path, make_walk_forward({"ar": {0: 0.1}}))["models"]["ar"]["spread"] is None


def test_skill_is_told_by_fold(tmp_path: Path) -> None:
    table = make_walk_forward({"gru": {1: 0.1}})
    late = table["fold"].eq(2)
    table.loc[late, "forecast"] = table.loc[late, "unchanged"]
    found = judge(tmp_path, table)
    assert found["models"]["gru"]["skill_by_fold"] == {
        "0": pytest.approx(0.19, **EXACT),
        "1": pytest.approx(0.19, **EXACT),
        "2": 0,
    }
    assert [(fold["fold"], fold["n"]) for fold in found["folds"]] == [(0, 20), (1, 20), (2, 20)]
    assert found["folds"][1]["first"] == "2020-01-21T00:00:00+00:00"


def test_a_fold_without_a_move_has_no_skill(tmp_path: Path) -> None:
    table = make_walk_forward({"gru": {1: 0.1}})
    first = table["fold"].eq(0)
    for column in ("truth", "forecast"):
        table.loc[first, column] = table.loc[first, "unchanged"]
    assert judge(tmp_path, table)["models"]["gru"]["skill_by_fold"]["0"] is None


def test_the_best_is_alone_in_the_confidence_set_and_superior(tmp_path: Path) -> None:
    found = judge(tmp_path, make_walk_forward({"gru": {1: 0.6}, "ar": {0: 0.01}}))
    assert found["models"]["gru"]["in_confidence_set"] is True
    assert found["models"]["ar"]["in_confidence_set"] is False
    assert found["persistence"]["in_confidence_set"] is False
    assert found["superior_predictive_ability"]["best"] is not None
    assert found["superior_predictive_ability"]["p"] < 0.05


def test_persistence_is_no_model_of_its_own(tmp_path: Path) -> None:
    found = judge(tmp_path, make_walk_forward({"persistence": {0: 0.0}, "gru": {1: 0.05}}))
    assert set(found["models"]) == {"gru"}
    assert found["models"]["gru"]["judgement"]["tried"] == 1


def test_intervals_cover_by_fold_what_came_after_enough_errors_were_known(tmp_path: Path) -> None:
    table = make_walk_forward({"gru": {1: 0.0}})
    table["forecast"] = table["truth"] + np.where(np.arange(ROWS) % 2, 1.0, -1.0)  # every error has size 1
    conformal = judge(tmp_path, table)["models"]["gru"]["conformal"]
    assert conformal["split"]["coverage"] == 1
    assert conformal["split"]["by_fold"] == {"0": 1, "1": 1, "2": 1}
    assert conformal["split"]["mean_width"] == pytest.approx(2, **EXACT)
    assert set(conformal["adaptive"]["by_fold"]) == {"0", "1", "2"}


def test_probabilities_have_no_conformal_interval_and_no_echo(tmp_path: Path) -> None:
    found = judge(tmp_path, make_walk_forward({"gru": {1: 0.05}}, "probability"), "probability")["models"]["gru"]
    assert found["conformal"] is None
    assert found["judgement"]["echo"] is None


def test_quantiles_are_averaged_over_seeds_before_they_are_judged(tmp_path: Path) -> None:
    table = make_walk_forward({"gru": {1: 0.05, 2: 0.05}, "ar": {0: 0.01}})
    shift = np.where(table["seed"].eq(1), 3.0, -1.0)  # on average 1 above and 1 below the truth
    table["q05"], table["q95"] = table["truth"] + shift - 2, table["truth"] + shift
    table.loc[table["model"].eq("ar"), ["q05", "q95"]] = np.nan
    found = judge(tmp_path, table)["models"]
    assert found["gru"]["bands"]["coverage"] == {"90": 1}
    assert found["gru"]["bands"]["below"] == {"0.05": 0, "0.95": 1}
    assert found["ar"]["bands"] is None


def test_further_horizons_are_told_by_skill(tmp_path: Path) -> None:
    table = pd.concat([make_walk_forward({"gru": {1: 0.05}}), make_walk_forward({"gru": {1: 0.1}}, horizon=10)])
    found = judge(tmp_path, table)
    assert found["horizon"] == 1
    assert found["models"]["gru"]["skill_by_horizon"] == {
        "1": pytest.approx(1 - 0.95**2, **EXACT),
        "10": pytest.approx(1 - 0.9**2, **EXACT),
    }


def test_results_are_plain_data_and_the_same_for_the_same_rows_in_any_order(tmp_path: Path) -> None:
    table = make_walk_forward({"gru": {1: 0.05, 2: 0.1}, "ar": {0: 0.01}})
    first = json.dumps(judge(tmp_path, table), sort_keys=True, allow_nan=False)
    again = json.dumps(judge(tmp_path, table.iloc[::-1]), sort_keys=True, allow_nan=False)
    assert json.loads(first)["models"].keys() == {"gru", "ar"}
    assert first == json.dumps(judge(tmp_path, table), sort_keys=True, allow_nan=False)
    assert json.loads(first)["models"]["gru"]["judgement"] == json.loads(again)["models"]["gru"]["judgement"]


def test_an_evaluation_holds_the_walk_forward_where_there_is_one(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    write_competitor("gru", make_forecasts_that_know(0.05))
    make_walk_forward({"gru": {1: 0.05}}).to_parquet(tmp_path / "toy.parquet", index=False)
    competitors = read_competitors(tmp_path / "models" / "toy")
    evaluation = evaluate("toy", competitors, read_walk_forward(tmp_path / "toy.parquet"))
    assert evaluation["walk_forward"]["n"] == ROWS


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop(columns="fold"), r"has no column fold. Run dvc repro walk_forward@toy"),
        (lambda t: t.head(0), "has no row"),
        (lambda t: t.iloc[:-1], r"gru, seed 2 has other rows \(59\) than gru \(60\)"),
        (lambda t: pd.concat([t, t.tail(1)]), r"gru, seed 2: origin 2020-02-29 .* comes twice"),
        (
            lambda t: t.assign(forecast=t["forecast"].where(t["seed"].eq(1))),
            r"gru, seed 2: 60 of 60 values in 'forecast' are not finite, first at origin 2020-01-01",
        ),
        (lambda t: t.assign(truth=t["truth"] + t["seed"]), "gru, seed 2 and gru disagree about 'truth'"),
    ],
)
def test_a_broken_walk_forward_says_what_to_run(
    spoil: Callable[[pd.DataFrame], pd.DataFrame], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "toy.parquet"
    spoil(make_walk_forward({"gru": {1: 0.05, 2: 0.1}})).to_parquet(path, index=False)
    with pytest.raises(ModelError, match=message):
        read_walk_forward(path)


def test_a_cut_off_file_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "toy.parquet").write_bytes(b"PAR1")
    with pytest.raises(ModelError, match=r"toy.parquet can't be read .*Run dvc repro walk_forward@toy"):
        read_walk_forward(tmp_path / "toy.parquet")
