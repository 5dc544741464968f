from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from carrossel.errors import ModelError
from carrossel.evaluation.scores import brier, log_loss, pesaran_timmermann, qlike, qlike_losses

EXACT = {"rel": 1e-12}  # a handful of float64 operations


def test_qlike_is_zero_for_the_truth_and_dearer_for_too_little_than_for_too_much() -> None:
    truth = np.log([0.5, 2.0])
    assert qlike(truth, truth) == 0
    half, double = qlike_losses(truth, truth - np.log(2))[0], qlike_losses(truth, truth + np.log(2))[0]
    assert half == pytest.approx(2 - np.log(2) - 1, **EXACT)
    assert double == pytest.approx(0.5 + np.log(2) - 1, **EXACT)
    assert half > double
    one_of_each = pd.Series(truth - np.log([2, 0.5]))
    assert qlike(pd.Series(truth), one_of_each) == pytest.approx((half + double) / 2, **EXACT)


def test_qlike_is_lowest_for_the_mean_variance_of_a_noisy_proxy() -> None:
    proxy = np.log(np.random.default_rng(0).chisquare(1, 1000))  # squared returns of variance 1
    mean = np.log(np.exp(proxy).mean())
    scores = [qlike(proxy, np.full(1000, mean + shift)) for shift in (-0.1, 0.0, 0.1)]
    assert scores[1] < min(scores[0], scores[2])


def test_probability_scores_equal_their_values_by_hand() -> None:
    up, probability = np.array([1.0, 0.0, 1.0]), np.array([0.8, 0.4, 0.5])
    assert log_loss(up, probability) == pytest.approx(-np.log([0.8, 0.6, 0.5]).mean(), **EXACT)
    assert brier(up, probability) == pytest.approx((0.04 + 0.16 + 0.25) / 3, **EXACT)


def test_as_likely_as_not_scores_ln_2_and_a_quarter_even_where_all_go_up() -> None:
    for up in ([True, False, True], [True, True, True]):
        assert log_loss(np.array(up), np.full(3, 0.5)) == pytest.approx(np.log(2), **EXACT)
        assert brier(np.array(up), np.full(3, 0.5)) == pytest.approx(0.25, **EXACT)


def test_a_certain_miss_has_a_finite_log_loss() -> None:
    assert 30 < log_loss(np.array([1.0]), np.array([0.0])) < 40  # −ln of float64's epsilon is 36


def test_what_is_no_probability_and_no_direction_is_named() -> None:
    with pytest.raises(ModelError, match=r"probability of up is 1.5 in row 1"):
        brier(np.array([0.0, 1.0]), np.array([0.5, 1.5]))
    with pytest.raises(ModelError, match=r"true direction is 101.5 in row 0"):
        log_loss(np.array([101.5]), np.array([0.5]))
    with pytest.raises(ModelError, match=r"forecast direction is 0.7 in row 1"):
        pesaran_timmermann(np.array([0.0, 1.0]), np.array([1.0, 0.7]))


def test_pesaran_timmermann_equals_the_papers_formulas() -> None:
    truth = np.array([True] * 12 + [False] * 8)
    forecast = np.array([True] * 9 + [False] * 3 + [True] * 3 + [False] * 5)  # 14 of 20 right
    n, y, x = 20, 12 / 20, 12 / 20
    expected = y * x + (1 - y) * (1 - x)
    variance = expected * (1 - expected) / n
    variance_expected = (
        (2 * y - 1) ** 2 * x * (1 - x) / n + (2 * x - 1) ** 2 * y * (1 - y) / n + 4 * y * x * (1 - y) * (1 - x) / n**2
    )
    statistic = (14 / 20 - expected) / np.sqrt(variance - variance_expected)
    result = pesaran_timmermann(truth, forecast)
    assert result is not None
    assert (result.hit_rate, result.expected_hit_rate) == pytest.approx((0.7, 0.52), **EXACT)
    assert result.statistic == pytest.approx(statistic, rel=1e-9)  # the paper's form subtracts near equals
    assert result.p == pytest.approx(1 - norm.cdf(statistic), rel=1e-9)


def test_following_the_drift_foresees_nothing_and_always_the_same_direction_cannot_be_tested() -> None:
    rng = np.random.default_rng(0)
    drifting, mostly_up = rng.random(2000) < 0.9, rng.random(2000) < 0.9
    result = pesaran_timmermann(pd.Series(drifting), pd.Series(mostly_up))
    assert result is not None
    assert result.hit_rate > 0.8
    assert result.p > 0.05
    assert pesaran_timmermann(drifting, np.ones(2000)) is None
    assert pesaran_timmermann(np.zeros(2000), mostly_up) is None
    assert pesaran_timmermann(np.ones(1), np.ones(1)) is None


def test_the_opposite_of_the_truth_is_no_skill() -> None:
    up = np.tile([1.0, 0.0], 50)
    right, wrong = pesaran_timmermann(up, up), pesaran_timmermann(up, 1 - up)
    assert right is not None
    assert wrong is not None
    assert right.statistic == pytest.approx(-wrong.statistic, **EXACT)
    assert right.p < 1e-6
    assert wrong.p > 1 - 1e-6
