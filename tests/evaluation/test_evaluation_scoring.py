from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from evaluation_models import LAST_CLOSE, TRUTH, make_forecasts

from carrossel.errors import ModelError
from carrossel.evaluation.competitors import read_competitors
from carrossel.evaluation.scoring import evaluate, name_interval, tabulate
from carrossel.evaluation.verdicts import describe_dataset, describe_skill, format_percent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HALF = [11.0, 11.5, 11.0, 12.5]  # half the true change: a quarter of persistence's squared error
WORSE = [11.0, 13.0, 12.0, 12.0]  # last close + 1: squared errors 1, 4, 1, 4 against 14 of persistence


def test_persistence_stands_beside_the_competitors_on_the_same_rows(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    write_competitor("gru", make_forecasts(HALF, WORSE))
    evaluation = evaluate("toy", read_competitors(tmp_path / "models" / "toy"))
    test = evaluation["rows"]["test"]
    assert list(test) == ["persistence", "gru"]
    assert test["persistence"]["skill"] == 0
    assert test["persistence"]["mae"] == pytest.approx(6 / 4)
    assert test["persistence"]["mase"] == pytest.approx(6 / 8)  # naive MAE of the training part: 2
    assert test["gru"]["skill"] == pytest.approx(1 - 10 / 14)
    assert evaluation["rows"]["validation"]["gru"]["skill"] == pytest.approx(3 / 4)
    assert evaluation["n"] == {"validation": 4, "test": 4}
    assert evaluation["interval"] == "1d"
    json.dumps(evaluation, allow_nan=False)


def test_the_best_is_chosen_on_validation_and_judged_on_test(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    echo = [value + 0.001 for value in LAST_CLOSE]
    opposite = [2 * last - true for last, true in zip(LAST_CLOSE, TRUTH, strict=True)]
    write_competitor("gru", make_forecasts(HALF, opposite))
    write_competitor("rnn", make_forecasts(echo, HALF))
    evaluation = evaluate("toy", read_competitors(tmp_path / "models" / "toy"))
    assert evaluation["best_by_validation"] == "gru"
    assert evaluation["beats_persistence_on_test"] is False
    assert evaluation["winners_on_test"] == ["rnn"]
    assert evaluation["alias"] == "challenger"
    assert "gru, chosen on validation, doesn't beat" in evaluation["verdict"]
    assert evaluation["verdicts"]["gru"].startswith("no better than 'tomorrow = today': 300 % more squared error")


def test_a_best_that_beats_persistence_on_test_becomes_champion(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    write_competitor("gru", make_forecasts(HALF, HALF))
    evaluation = evaluate("toy", read_competitors(tmp_path / "models" / "toy"))
    assert evaluation["beats_persistence_on_test"] is True
    assert evaluation["alias"] == "champion"
    assert "registered as champion" in evaluation["registration"]


def test_equal_validation_scores_are_settled_by_name(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("rnn", "gru", "lstm"):
        write_competitor(name)
    assert evaluate("toy", read_competitors(tmp_path / "models" / "toy"))["best_by_validation"] == "gru"


def test_a_part_that_never_moves_is_named(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    flat = [5.0] * 4
    write_competitor("gru", make_forecasts(flat, flat, truth=flat, last_close=flat))
    with pytest.raises(ModelError, match=r"^toy, validation: the price doesn't move in any of 4 rows"):
        evaluate("toy", read_competitors(tmp_path / "models" / "toy"))


def test_the_table_has_a_row_per_part_and_competitor(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    write_competitor("gru")
    table = tabulate(evaluate("toy", read_competitors(tmp_path / "models" / "toy")))
    assert table[["split", "competitor"]].to_numpy().tolist() == [
        ["validation", "persistence"],
        ["validation", "gru"],
        ["test", "persistence"],
        ["test", "gru"],
    ]
    assert table["directional_accuracy"].isna().tolist() == [True, False, True, False]


@pytest.mark.parametrize(("step", "name"), [("1D", "1d"), ("4h", "4h"), ("15min", "15min"), ("10s", "10s")])
def test_the_interval_is_named_as_in_params(step: str, name: str) -> None:
    times = pd.Series(pd.date_range("2020-01-01", periods=4, freq=step, tz="UTC"))
    assert name_interval(times) == name


@pytest.mark.parametrize(
    ("skill", "sentence"),
    [
        (0.004, "beats 'tomorrow = today' by 0.4 % in squared error"),
        (0.00001, "beats 'tomorrow = today' by less than 0.01 % in squared error"),
        (0.0, "no better than 'tomorrow = today': the same squared error"),
        (-0.02, "no better than 'tomorrow = today': 2 % more squared error"),
    ],
)
def test_a_verdict_claims_what_was_measured_and_no_more(skill: float, sentence: str) -> None:
    assert describe_skill(skill) == f"{sentence} (on this test part; significance isn't tested yet)"


def test_the_headline_says_so_when_nobody_wins() -> None:
    assert describe_dataset("google", {"lstm": -0.02, "gru": -0.003}, "lstm") == (
        "None of the 2 competitors beats 'tomorrow = today' on google: the nearest, gru, has 0.3 % more squared error."
    )


def test_the_headline_is_about_the_one_chosen_on_validation() -> None:
    skills = {"lstm": 0.003, "gru": 0.01, "rnn": -0.1}
    assert describe_dataset("google", skills, "lstm").startswith(
        "lstm, chosen on validation, beats 'tomorrow = today' on google by 0.3 % in squared error (2 of 3 competitors"
    )
    assert describe_dataset("google", skills, "rnn").startswith(
        "rnn, chosen on validation, doesn't beat 'tomorrow = today' on google; 2 of 3 competitors do, gru by most (1 %)"
    )


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (0.00005, "less than 0.01 %"), (0.0123, "1.2 %"), (0.5, "50 %"), (12.34, "1,234 %")]
)
def test_percents_have_digits_that_suit_their_size(share: float, text: str) -> None:
    assert format_percent(share) == text
