from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from evaluation_models import LAST_CLOSE, TRUTH, make_forecasts, make_forecasts_that_know, make_moves

from carrossel.errors import ModelError
from carrossel.evaluation.competitors import read_competitors
from carrossel.evaluation.scoring import evaluate, name_interval, tabulate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HALF = [11.0, 11.5, 11.0, 12.5]  # half the true change: a quarter of persistence's squared error
WORSE = [11.0, 13.0, 12.0, 12.0]  # last close + 1: squared errors 1, 4, 1, 4 against 14 of persistence
EXACT = {"rel": 1e-9}  # prices near 100 are rounded at 1e-14, their differences of 1 at 1e-12


@pytest.fixture
def score(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    return lambda: evaluate("toy", read_competitors(tmp_path / "models" / "toy"))


def test_persistence_stands_beside_the_competitors_on_the_same_rows(
    write_competitor: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    write_competitor("gru", make_forecasts(HALF, WORSE))
    evaluation = score()
    test = evaluation["rows"]["test"]
    assert list(test) == ["persistence", "gru"]
    assert test["persistence"]["skill"] == 0
    assert test["persistence"]["mae"] == pytest.approx(6 / 4)
    assert test["persistence"]["mase"] == pytest.approx(6 / 8)  # naive MAE of the training part: 2
    assert test["gru"]["skill"] == pytest.approx(1 - 10 / 14)
    assert evaluation["rows"]["validation"]["gru"]["skill"] == pytest.approx(3 / 4)
    assert evaluation["n"] == {"validation": 4, "test": 4}
    assert evaluation["interval"] == "1d"
    assert "walk_forward" not in evaluation
    json.dumps(evaluation, allow_nan=False)


def test_the_best_is_chosen_on_validation_and_judged_on_test(
    write_competitor: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    echo = [value + 0.001 for value in LAST_CLOSE]
    opposite = [2 * last - true for last, true in zip(LAST_CLOSE, TRUTH, strict=True)]
    write_competitor("gru", make_forecasts(HALF, opposite))
    write_competitor("rnn", make_forecasts(echo, HALF))
    evaluation = score()
    assert evaluation["best_by_validation"] == "gru"
    assert evaluation["judgements"]["gru"]["skill"] == pytest.approx(-3)  # twice the error: four times the square
    assert evaluation["beats_persistence_on_test"] is False
    assert evaluation["alias"] == "challenger"


def test_a_best_that_beats_persistence_on_test_becomes_champion(
    write_competitor: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    write_competitor("gru", make_forecasts_that_know(0.05))
    evaluation = score()
    found = evaluation["judgements"]["gru"]
    assert found["skill"] == pytest.approx(1 - 0.95**2, **EXACT)
    assert found["lower"] == pytest.approx(found["upper"], **EXACT)  # the same skill in whatever rows are drawn
    assert found["verdict"] == "beats persistence"
    assert evaluation["winners_on_test"] == ["gru"]
    assert evaluation["beats_persistence_on_test"] is True
    assert evaluation["alias"] == "champion"
    assert "gate of the champion" in evaluation["registration"]


def test_a_one_lag_copycat_is_an_echo_and_too_much_skill_is_suspicious(
    write_competitor: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    write_competitor("copycat", make_forecasts_that_know(-0.01))
    write_competitor("clairvoyant", make_forecasts_that_know(0.5))
    judgements = score()["judgements"]
    assert judgements["copycat"]["verdict"] == "echo"
    assert judgements["copycat"]["echo"]["peak"] == 1
    assert judgements["clairvoyant"]["verdict"] == "suspiciously good: check for leakage"


def test_the_p_value_is_corrected_for_all_that_were_tried_baselines_among_them(
    write_competitor: Callable[..., Path], write_baseline: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    write_competitor("gru", make_forecasts_that_know(0.05))
    for name in ("ar", "drift"):
        write_baseline(name, make_forecasts_that_know(-0.05))
    found = score()["judgements"]["gru"]
    assert found["tried"] == 3
    assert found["p_corrected"] == pytest.approx(3 * found["p"], **EXACT)  # Holm: the smallest of three


def test_a_baseline_may_win_but_isnt_chosen(
    write_competitor: Callable[..., Path], write_baseline: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    write_competitor("gru", make_forecasts_that_know(-0.05))
    write_baseline("ar", make_forecasts_that_know(0.05))
    write_baseline("drift", make_forecasts_that_know(0.01))
    evaluation = score()
    assert evaluation["best_by_validation"] == "gru"
    assert evaluation["best_baseline"] == "ar"
    assert evaluation["winners_on_test"] == ["ar", "drift"]
    assert evaluation["alias"] == "challenger"
    assert evaluation["against_baseline"]["gain"] == pytest.approx(1 - 1.05**2 / 0.95**2, **EXACT)
    assert evaluation["competitors"]["ar"]["baseline"] == {"kind": "ar", "config": {"lags": 2}}


def test_baselines_alone_are_no_contest(
    write_baseline: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    write_baseline("ar", make_forecasts_that_know(0.05))
    with pytest.raises(ModelError, match=r"baselines and no network. Train one: dvc repro evaluate@toy"):
        score()


def test_each_unit_has_its_own_metrics_and_probabilities_no_echo(
    write_competitor: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    write_competitor("gru", make_forecasts_that_know(0.05, "probability"), unit="probability")
    evaluation = score()
    assert evaluation["unit"] == "probability"
    assert "log_loss" in evaluation["rows"]["test"]["gru"]
    assert evaluation["judgements"]["gru"]["echo"] is None
    assert evaluation["persistence_echo"] is None


def test_persistence_itself_has_an_echo_at_lag_one(
    write_competitor: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    write_competitor("gru", make_forecasts_that_know(0.05))
    echo = score()["persistence_echo"]
    assert echo["peak"] == 1
    assert echo["correlations"][1] == pytest.approx(1, **EXACT)


def test_skill_is_told_for_each_horizon(
    write_competitor: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    far = make_forecasts_that_know(0.1, horizon=5)
    write_competitor("gru", pd.concat([make_forecasts_that_know(0.05), far]))
    evaluation = score()
    assert evaluation["horizon"] == 1
    assert evaluation["skill_by_horizon"] == {
        "1": {"gru": pytest.approx(1 - 0.95**2, **EXACT)},
        "5": {"gru": pytest.approx(1 - 0.9**2, **EXACT)},
    }


def test_quantiles_are_judged_where_there_are_any(
    write_competitor: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    truth, _ = make_moves()
    low = [value - 1 if row % 4 else value + 1 for row, value in enumerate(truth)]  # every fourth band lies too high
    quantiles = {"q05": low, "q95": [value + 2 for value in truth]}
    write_competitor("gru", make_forecasts_that_know(0.05, quantiles=quantiles))
    write_competitor("rnn", make_forecasts_that_know(0.05))
    bands = score()["bands"]
    assert set(bands) == {"gru"}
    assert bands["gru"]["coverage"] == {"90": 0.75}
    assert bands["gru"]["below"] == {"0.05": 0.25, "0.95": 1.0}


def test_equal_validation_scores_are_settled_by_name(
    write_competitor: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    for name in ("rnn", "gru", "lstm"):
        write_competitor(name)
    assert score()["best_by_validation"] == "gru"


def test_a_part_that_never_moves_is_named(
    write_competitor: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    flat = [5.0] * 4
    write_competitor("gru", make_forecasts(flat, flat, truth=flat, unchanged=flat))
    with pytest.raises(ModelError, match=r"^toy, validation: nothing moves in any of 4 rows"):
        score()


def test_the_table_has_a_row_per_part_and_competitor(
    write_competitor: Callable[..., Path], score: Callable[[], dict[str, Any]]
) -> None:
    write_competitor("gru")
    table = tabulate(score())
    assert table[["split", "competitor"]].to_numpy().tolist() == [
        ["validation", "persistence"],
        ["validation", "gru"],
        ["test", "persistence"],
        ["test", "gru"],
    ]
    assert table["directional_accuracy"].isna().tolist() == [True, False, True, False]
    assert table["qlike"].isna().all()


@pytest.mark.parametrize(("step", "name"), [("1D", "1d"), ("4h", "4h"), ("15min", "15min"), ("10s", "10s")])
def test_the_interval_is_named_as_in_params(step: str, name: str) -> None:
    times = pd.Series(pd.date_range("2020-01-01", periods=4, freq=step, tz="UTC"))
    assert name_interval(times) == name
