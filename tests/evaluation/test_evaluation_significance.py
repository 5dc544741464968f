from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student_t

from carrossel.errors import ModelError
from carrossel.evaluation.significance import (
    bootstrap_skill,
    choose_block_length,
    diebold_mariano,
    holm,
    model_confidence_set,
    superior_predictive_ability,
)

EXACT = {"rel": 1e-9}  # sums of a few hundred float64 terms, in another order


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(("rows", "horizon", "lags"), [(200, 1, 6), (200, 24, 69), (4, 1, 2)])
def test_diebold_mariano_equals_the_papers_formulas_in_plain_loops(rows: int, horizon: int, lags: int) -> None:
    d = draw(3, rows) - 0.1
    centred = d - d.mean()
    long_run = centred @ centred / rows
    for lag in range(1, lags + 1):
        long_run += 2 * (1 - lag / (lags + 1)) * (centred[lag:] @ centred[:-lag]) / rows
    harvey = (rows + 1 - 2 * horizon + horizon * (horizon - 1) / rows) / rows
    statistic = d.mean() / np.sqrt(long_run / rows) * np.sqrt(harvey)
    result = diebold_mariano(d, horizon)
    assert (result.lags, result.rows) == (lags, rows)
    assert result.mean == pytest.approx(d.mean(), **EXACT)
    assert result.statistic == pytest.approx(statistic, **EXACT)
    assert result.p_better == pytest.approx(student_t.cdf(statistic, rows - 1), **EXACT)
    assert result.p_two_sided == pytest.approx(2 * student_t.cdf(-abs(statistic), rows - 1), **EXACT)


def test_lower_losses_are_better_and_swapping_the_two_turns_the_test_round() -> None:
    d = pd.Series(draw(0, 500) - 0.2)
    better, worse = diebold_mariano(d, 1), diebold_mariano(-d, 1)
    assert better.statistic is not None
    assert better.statistic < 0
    assert better.p_better < 0.001
    assert better.p_better + worse.p_better == pytest.approx(1, **EXACT)
    assert better.p_two_sided == pytest.approx(worse.p_two_sided, **EXACT)


def test_the_very_same_losses_are_no_evidence() -> None:
    result = diebold_mariano(np.zeros(50), 1)
    assert (result.statistic, result.p_better, result.p_two_sided) == (None, 1, 1)


@pytest.mark.parametrize(("difference", "p_better"), [(-0.5, 0), (0.5, 1)])
def test_a_difference_that_never_varies_is_decided_by_its_sign(difference: float, p_better: float) -> None:
    result = diebold_mariano(np.full(50, difference), 1)
    assert (result.statistic, result.p_better, result.p_two_sided) == (None, p_better, 0)


@pytest.mark.parametrize("horizon", [1, 5])
def test_equal_forecasts_are_called_better_about_one_time_in_twenty(horizon: int) -> None:
    rows, runs = 400, 400
    noise = draw(11, runs, rows + horizon - 1)
    overlapping = [np.convolve(one, np.ones(horizon), "valid") for one in noise]
    rejected = np.mean([diebold_mariano(d, horizon).p_better < 0.05 for d in overlapping])
    assert 0.02 < rejected < 0.10  # 5 % ± 3 standard errors of 1.1 %, and Bartlett's weights cost up to 2 %


@pytest.mark.parametrize(("rows", "horizon"), [(1, 1), (24, 24)])
def test_too_few_rows_for_the_horizon_are_an_error(rows: int, horizon: int) -> None:
    with pytest.raises(ModelError, match=rf"{rows} rows are too few to test forecasts {horizon} bars ahead"):
        diebold_mariano(np.arange(rows), horizon)


def test_values_that_are_not_finite_are_named() -> None:
    with pytest.raises(ModelError, match=r"the loss difference: 2 of 4 values aren't finite"):
        diebold_mariano(np.array([0.1, np.nan, np.inf, 0.2]), 1)
    with pytest.raises(ModelError, match=r"the loss difference has no rows"):
        diebold_mariano(np.array([]), 1)
    with pytest.raises(ModelError, match=r"of one length were expected, not of shapes .*\(3,\).*\(2,\)"):
        bootstrap_skill(np.ones(3), np.ones(2), seed=0)


def test_holm_equals_its_values_by_hand() -> None:
    # sorted: .01·3, then .03·2 and .04·1, each at least the one before
    corrected = holm({"lstm": 0.01, "gru": 0.04, "ar": 0.03})
    assert list(corrected) == ["lstm", "gru", "ar"]
    assert corrected == pytest.approx({"lstm": 0.03, "gru": 0.06, "ar": 0.06}, **EXACT)
    assert holm({"lstm": 0.6, "gru": 1.0}) == {"lstm": 1, "gru": 1}
    assert holm({}) == {}


@pytest.mark.parametrize("p", [np.nan, -0.1, 1.1])
def test_holm_names_what_is_no_p_value(p: float) -> None:
    with pytest.raises(ModelError, match=r"of lstm isn't within 0 … 1"):
        holm({"gru": 0.1, "lstm": p})


def make_losses(rows: int = 300) -> pd.DataFrame:
    common = draw(1, rows) ** 2
    noise = 0.3 * draw(2, rows, 3)
    return pd.DataFrame({"worst": common + 0.5 + noise[:, 0], "a": common + noise[:, 1], "b": common + noise[:, 2]})


def test_the_confidence_set_drops_the_plainly_worse_and_keeps_what_cannot_be_told_apart() -> None:
    result = model_confidence_set(make_losses(), seed=0)
    assert result.included == ("a", "b")
    assert list(result.p_values) == ["worst", "a", "b"]
    assert result.p_values["worst"] < 0.05
    assert max(result.p_values.values()) == 1


def test_competitors_with_the_very_same_losses_share_their_place_in_the_confidence_set() -> None:
    losses = make_losses()
    alone = model_confidence_set(losses, seed=0)
    twice = model_confidence_set(losses.assign(copy=losses["a"]), seed=0)
    assert twice.p_values == {**alone.p_values, "copy": alone.p_values["a"]}
    assert twice.included == ("a", "b", "copy")


def test_a_loss_always_higher_by_the_same_leaves_the_confidence_set() -> None:
    losses = pd.DataFrame({"a": np.zeros(50), "always": np.full(50, 0.5), "b": draw(0, 50) ** 2})
    result = model_confidence_set(losses, seed=0)
    assert result.included == ("a",)
    assert result.p_values["always"] == 0


def test_a_competitor_alone_is_the_confidence_set() -> None:
    losses = make_losses()[["a"]]
    assert model_confidence_set(losses.assign(copy=losses["a"]), seed=0).p_values == {"a": 1, "copy": 1}
    assert model_confidence_set(losses, seed=0).included == ("a",)
    with pytest.raises(ModelError, match="no losses"):
        model_confidence_set(losses[[]], seed=0)


def test_draws_come_from_the_seed_alone() -> None:
    losses = make_losses()
    reference = losses.pop("worst") - 0.45
    results = [
        [
            model_confidence_set(losses, seed=seed),
            superior_predictive_ability(reference, losses, seed=seed),
            bootstrap_skill(losses["a"] ** 2, reference**2, seed=seed),
        ]
        for seed in (5, 5, 6)
    ]
    assert results[0] == results[1]
    assert all(one != other for one, other in zip(results[0], results[2], strict=True))


def test_spa_finds_the_one_better_competitor_among_useless_ones() -> None:
    reference = draw(0, 400) ** 2
    noise = draw(1, 400, 5)
    losses = pd.DataFrame({f"useless{i}": reference + 0.1 + noise[:, i] for i in range(4)})
    result = superior_predictive_ability(reference, losses.assign(good=reference - 0.3 + noise[:, 4]), seed=0)
    assert result.best == "good"
    assert result.p < 0.05
    assert result.p_lower <= result.p <= result.p_upper
    assert superior_predictive_ability(reference, losses, seed=0).p > 0.5


def test_a_wild_competitor_does_not_hide_a_sure_one_from_spa() -> None:
    # the wild one's mean moves by ± 1 by luck, far beyond the sure one's lead of 0.1: only in standard errors is it seen
    reference = draw(0, 400) ** 2
    wild = 20 * draw(2, 400)
    losses = pd.DataFrame({"wild": reference + wild - wild.mean(), "sure": reference - 0.1 + 0.1 * draw(1, 400)})
    result = superior_predictive_ability(reference, losses, seed=0)
    assert result.best == "sure"
    assert result.p == 0


def test_repeating_the_reference_is_no_superior_ability() -> None:
    reference = draw(0, 100) ** 2
    result = superior_predictive_ability(reference, pd.DataFrame({"copy": reference}), seed=0)
    assert (result.p, result.p_lower, result.p_upper, result.best) == (1, 1, 1, None)
    worse = pd.DataFrame({"copy": reference, "worse": reference + 1 + draw(1, 100)})
    assert superior_predictive_ability(reference, worse, seed=0).best == "worse"
    assert superior_predictive_ability(reference, worse, seed=0).p == 1


def test_a_loss_always_lower_by_the_same_is_superior_and_one_always_higher_is_not() -> None:
    reference = np.arange(60.0)  # whole numbers: the difference is the same to the last bit
    assert superior_predictive_ability(reference, pd.DataFrame({"a": reference - 1}), seed=0).p == 0
    assert superior_predictive_ability(reference, pd.DataFrame({"a": reference + 1}), seed=0).p == 1


def test_half_the_loss_in_every_row_is_a_skill_of_one_half_without_doubt() -> None:
    reference = draw(0, 100) ** 2
    result = bootstrap_skill(reference / 2, reference, seed=0)
    assert (result.skill, result.lower, result.upper) == pytest.approx((0.5, 0.5, 0.5), **EXACT)


def test_the_interval_of_independent_rows_is_as_wide_as_the_delta_method_says() -> None:
    reference, own = draw(0, 2000) ** 2, 0.8 * draw(1, 2000) ** 2
    ratio = own.mean() / reference.mean()
    error = np.std(own - ratio * reference) / reference.mean() / np.sqrt(2000)
    result = bootstrap_skill(own, reference, seed=0, reps=2000)
    assert result.skill == pytest.approx(1 - ratio, **EXACT)
    assert result.lower < result.skill < result.upper
    # 2,000 samples know a percentile to about 5 % of the width, and the ratio is normal only in the limit
    assert result.upper - result.lower == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_samples_without_any_reference_error_are_left_out_of_the_interval() -> None:
    reference = np.array([0.0, 0.0, 0.0, 1.0])  # a third of the samples miss the last row
    result = bootstrap_skill(reference / 4, reference, seed=0, reps=200)
    assert (result.skill, result.lower, result.upper) == (0.75, 0.75, 0.75)


def test_skill_beside_a_reference_without_error_is_undefined() -> None:
    with pytest.raises(ModelError, match=r"no error in any of 5 rows, so skill is undefined"):
        bootstrap_skill(np.ones(5), np.zeros(5), seed=0)


def test_blocks_are_as_long_as_dependence_and_horizon_ask_for() -> None:
    noise = draw(0, 1000)
    slow = np.zeros(1000)
    for row in range(1, 1000):
        slow[row] = 0.9 * slow[row - 1] + noise[row]
    short, long = choose_block_length(noise[:, None], 1), choose_block_length(slow[:, None], 1)
    assert short <= 5
    assert 10 < long < 95  # Politis & White's rule for AR(1) with .9 and 1,000 rows is 56; its upper end is 3·√1000
    assert choose_block_length(np.column_stack([noise, slow]), 1) == long
    assert choose_block_length(noise[:, None], 24) == 24
    assert choose_block_length(np.ones((1000, 2)), 3) == 3
    assert choose_block_length(noise[:8, None], 1) == 1


def test_a_difference_that_is_nearly_always_zero_has_a_block_length() -> None:
    rare = np.zeros(100)
    rare[50] = 1.0
    assert 1 <= choose_block_length(rare[:, None], 1) <= 34  # at most a third of the rows
