from __future__ import annotations

import math

import pandas as pd
import pytest

from carrossel.errors import ModelError
from carrossel.evaluation.metrics import METRICS, count_moves, score

LAST_CLOSE = pd.Series([10.0, 12.0, 11.0, 11.0])
TRUTH = pd.Series([12.0, 11.0, 11.0, 14.0])  # changes +2, −1, 0, +3: MSE of persistence 14/4

EXACT = {"rel": 1e-12}  # a handful of float64 operations


def test_every_metric_equals_its_value_by_hand() -> None:
    forecast = pd.Series([11.0, 13.0, 11.0, 12.0])  # errors −1, 2, 0, −2; changes +1, +1, 0, +1
    scores = score(TRUTH, forecast, LAST_CLOSE, naive_error=2.5)
    assert tuple(scores) == ("rmse", "mae", "mase", "skill", "r2", "directional_accuracy", "change_correlation")
    assert set(scores) < set(METRICS)
    assert scores["rmse"] == pytest.approx(1.5, **EXACT)  # √(9/4)
    assert scores["mae"] == pytest.approx(1.25, **EXACT)
    assert scores["mase"] == pytest.approx(0.5, **EXACT)
    assert scores["skill"] == pytest.approx(1 - 9 / 14, **EXACT)
    assert scores["r2"] == pytest.approx(1 - 9 / 6, **EXACT)  # truth is 12 ± (0, 1, 1, 2)
    assert scores["directional_accuracy"] == pytest.approx(2 / 3, **EXACT)  # the third row didn't move and is left out
    assert scores["change_correlation"] == pytest.approx(
        1 / (3 * 40) ** 0.5 * 4, **EXACT
    )  # centred: 1·4 / √(¾·10)·… = 4/√120


def test_persistence_has_skill_zero_and_names_no_direction() -> None:
    scores = score(TRUTH, LAST_CLOSE, LAST_CLOSE, naive_error=1.0)
    assert scores["skill"] == 0
    assert "directional_accuracy" not in scores
    assert "change_correlation" not in scores


def test_the_truth_has_skill_one_and_every_direction() -> None:
    scores = score(TRUTH, TRUTH, LAST_CLOSE, naive_error=1.0)
    assert (scores["skill"], scores["rmse"], scores["directional_accuracy"]) == (1, 0, 1)
    assert scores["change_correlation"] == pytest.approx(1, **EXACT)


def test_a_forecast_of_no_move_counts_as_a_wrong_direction() -> None:
    forecast = pd.Series([11.0, 12.0, 11.0, 12.0])  # right, none, left out, right
    assert score(TRUTH, forecast, LAST_CLOSE, naive_error=1.0)["directional_accuracy"] == pytest.approx(2 / 3, **EXACT)


def test_a_price_that_never_moves_has_no_skill() -> None:
    flat = pd.Series([5.0, 5.0])
    with pytest.raises(ModelError, match=r"nothing moves in any of 2 rows.*skill is undefined"):
        score(flat, flat + 1, flat, naive_error=1.0)


def test_log_variances_have_qlike_and_no_direction() -> None:
    truth, unchanged = pd.Series([0.0, 1.0]), pd.Series([1.0, 0.0])
    scores = score(truth, pd.Series([0.0, 0.0]), unchanged, naive_error=1.0, unit="log_variance")
    assert tuple(scores) == ("rmse", "mae", "mase", "skill", "r2", "change_correlation", "qlike")
    assert scores["skill"] == pytest.approx(0.5, **EXACT)
    assert scores["qlike"] == pytest.approx((0 + math.e - 1 - 1) / 2, **EXACT)  # mean of eᵈ − d − 1 for d = 0 and 1


def test_probabilities_have_log_loss_and_a_test_of_timing() -> None:
    truth, even = pd.Series([1.0, 0.0, 1.0, 0.0]), pd.Series([0.5] * 4)
    scores = score(truth, pd.Series([0.8, 0.2, 0.8, 0.2]), even, naive_error=0.5, unit="probability")
    assert scores["rmse"] ** 2 == pytest.approx(0.04, **EXACT)  # Brier
    assert scores["skill"] == pytest.approx(1 - 0.04 / 0.25, **EXACT)
    assert scores["log_loss"] == pytest.approx(-math.log(0.8), **EXACT)
    assert scores["directional_accuracy"] == 1
    assert 0 < scores["timing_p"] < 0.05
    always_up = score(truth, pd.Series([0.6] * 4), even, naive_error=0.5, unit="probability")
    assert "timing_p" not in always_up  # one direction alone can't be tested


def test_moves_are_shares_of_all_rows() -> None:
    assert count_moves(TRUTH, LAST_CLOSE) == {"up": 0.5, "down": 0.25, "still": 0.25}
