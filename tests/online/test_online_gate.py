from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from carrossel.errors import ModelError
from carrossel.online.config import Gate
from carrossel.online.gate import (
    BETTER,
    COVERAGE,
    ROWS,
    SKILL,
    Incumbent,
    Verdict,
    choose_by_validation,
    decide,
    judge_candidates,
)

RULES = Gate(rows=300)
PART = 400
START = pd.Timestamp("2020-01-01", tz="UTC")
GOOD = Verdict("beats persistence", 0.1, 0.001, 1)


def rows(share: float, noise: float = 0.0, seed: int = 0, spread: float = 1.0) -> pd.DataFrame:
    """A price that jumps by N(0, 1) from 100; a forecast that knows a share of each jump, plus noise of its own.

    Args:
        spread: standard deviation of the test part's jumps.
    """
    jumps = np.random.default_rng(1).normal(0, 1, 2 * PART) * np.repeat([1.0, spread], PART)
    origin = pd.date_range(START, periods=2 * PART, freq="1h")
    truth = 100 + jumps
    return pd.DataFrame(
        {
            "split": np.repeat(["validation", "test"], PART),
            "origin": origin,
            "time": origin + pd.Timedelta("1h"),
            "horizon": 1,
            "last_close": 100.0,
            "unchanged": 100.0,
            "truth": truth,
            "forecast": 100 + share * jumps + np.random.default_rng(seed).normal(0, noise, 2 * PART),
        }
    )


def champion(share: float, noise: float = 0.0, seed: int = 5, seen: int = PART - 1) -> Incumbent:
    found = rows(share, noise, seed)
    return Incumbent("version 1 (gru)", found[["origin", "forecast"]], found["origin"][seen])


def passed(decision) -> dict[str, bool]:
    return {condition.name: condition.passed for condition in decision.conditions}


def test_a_better_challenger_is_promoted_and_the_sentence_says_why():
    decision = decide("lstm", rows(0.2), GOOD, champion(0.05), unit="price", rules=RULES)
    assert decision.promote
    assert passed(decision) == dict.fromkeys((SKILL, ROWS, BETTER, COVERAGE), True)
    assert decision.reason.startswith(
        "lstm is promoted in place of version 1 (gru): its verdict is 'beats persistence'"
    )
    assert "400 bars are unseen by it and version 1 (gru)" in decision.reason
    # jumps have variance 1: what is left of it is (1 − share)²
    ratio = decision.figures["loss"] / decision.figures["champion_loss"]
    assert ratio == pytest.approx((0.8 / 0.95) ** 2, rel=1e-9)


def test_a_worse_challenger_is_refused_though_it_beats_persistence():
    decision = decide("lstm", rows(0.05), GOOD, champion(0.2), unit="price", rules=RULES)
    assert not decision.promote
    assert passed(decision) == {SKILL: True, ROWS: True, BETTER: False, COVERAGE: True}
    assert decision.reason.startswith("lstm is not promoted: its loss on bars unseen by both is")
    assert decision.figures["p_no_better"] > 0.95


def test_a_challenger_that_is_better_by_luck_alone_is_refused_unless_a_lower_loss_is_enough():
    found = rows(0.1, noise=0.1, seed=2)
    other = rows(0.1, noise=0.1, seed=3)
    loss = [((one["truth"] - one["forecast"]) ** 2)[PART:].mean() for one in (found, other)]
    if loss[0] > loss[1]:
        found, other = other, found
    incumbent = Incumbent("version 1", other[["origin", "forecast"]], found["origin"][PART - 1])
    decision = decide("lstm", found, GOOD, incumbent, unit="price", rules=RULES)
    assert decision.figures["loss"] < decision.figures["champion_loss"]
    assert 0.1 < decision.figures["p_no_better"] < 0.5
    assert passed(decision) == {SKILL: True, ROWS: True, BETTER: False, COVERAGE: True}
    assert "Diebold & Mariano's test does not call it better" in decision.reason
    assert decide("lstm", found, GOOD, incumbent, unit="price", rules=Gate(rows=300, level=0.5)).promote


@pytest.mark.parametrize("level", [0.1, 0.5])
def test_equal_forecasts_are_no_better(level):
    rules = Gate(rows=300, level=level)
    decision = decide("lstm", rows(0.1), GOOD, champion(0.1), unit="price", rules=rules)
    assert not decision.promote
    assert decision.figures["p_no_better"] == 1.0


@pytest.mark.parametrize("verdict", ["no evidence of skill", "echo", "suspiciously good: check for leakage"])
def test_without_skill_nobody_is_promoted_however_bad_the_champion_is(verdict):
    found = Verdict(verdict, 0.3, 0.5, 2)
    decision = decide("lstm", rows(0.2), found, champion(-1.0), unit="price", rules=RULES)
    assert not decision.promote
    assert passed(decision)[SKILL] is False
    assert f"'{verdict}'" in decision.reason


def test_without_a_champion_skill_and_intervals_decide():
    decision = decide("lstm", rows(0.2), GOOD, None, unit="price", rules=RULES)
    assert decision.promote
    assert passed(decision) == {SKILL: True, COVERAGE: True}
    assert "in place of" not in decision.reason


def test_too_few_bars_unseen_by_both_are_refused_with_their_number():
    late = champion(0.05, seen=2 * PART - 100)  # the champion was chosen on all but the last 99
    decision = decide("lstm", rows(0.2), GOOD, late, unit="price", rules=RULES)
    assert not decision.promote
    assert set(passed(decision)) == {SKILL, ROWS, COVERAGE}
    assert "99 bars are unseen by it and version 1 (gru), 300 are needed (online.gate.rows)" in decision.reason


def test_bars_the_champion_was_chosen_on_do_not_count():
    # within the bars it had seen, the champion was perfect
    incumbent = champion(0.05, seen=PART + 49)
    incumbent.rows.loc[: PART + 49, "forecast"] = rows(1.0)["forecast"][: PART + 50]
    decision = decide("lstm", rows(0.2), GOOD, incumbent, unit="price", rules=RULES)
    assert decision.figures["rows"] == PART - 50
    assert decision.promote


def test_the_nearest_horizon_decides():
    far = rows(-1.0).assign(horizon=5, time=lambda frame: frame["origin"] + pd.Timedelta("5h"))
    both = pd.concat([far, rows(0.2)], ignore_index=True)
    assert decide("lstm", both, GOOD, champion(0.05), unit="price", rules=RULES).promote


def test_intervals_that_hold_too_few_truths_are_refused():
    # half-widths of 1.645 standard deviations hold 90 % where jumps are as before, 59 % where they are twice as wide
    interval = {"level": 0.9, "relative": False, "half_width": [1.645]}
    calm = decide("lstm", rows(0.0), GOOD, None, unit="price", rules=RULES, interval=interval)
    wild = decide("lstm", rows(0.0, spread=2.0), GOOD, None, unit="price", rules=RULES, interval=interval)
    assert calm.promote
    assert not wild.promote
    assert wild.figures["coverage_served"] == pytest.approx(0.59, abs=0.05)  # 400 rows: standard error 0.025
    assert "at least 87.0 % are needed" in wild.reason


def test_intervals_are_held_to_the_level_they_are_served_with():
    # ± 0.674 standard deviations hold 50 %
    narrow = {"level": 0.5, "relative": False, "half_width": [0.674]}
    rules = Gate(rows=300, slack=0.1)  # 400 rows: standard error 0.025
    decision = decide("lstm", rows(0.0), GOOD, None, unit="price", rules=rules, interval=narrow)
    assert decision.figures["coverage_served"] == pytest.approx(0.5, abs=0.1)
    assert decision.figures["coverage_needed"] == pytest.approx(0.4)
    assert decision.promote
    boasted = decide("lstm", rows(0.0), GOOD, None, unit="price", rules=rules, interval={**narrow, "level": 0.8})
    assert not boasted.promote
    assert "at least 70.0 % are needed" in boasted.reason


def test_half_widths_may_be_shares_of_the_last_close():
    interval = {"level": 0.9, "relative": True, "half_width": [0.01645]}  # of 100
    decision = decide("lstm", rows(0.0), GOOD, None, unit="price", rules=RULES, interval=interval)
    assert decision.figures["coverage_served"] == pytest.approx(0.9, abs=0.04)


def test_a_head_with_quantiles_is_held_to_its_own_band():
    narrow = rows(0.0).assign(q05=99.9, q95=100.1)
    decision = decide("lstm", narrow, GOOD, None, unit="price", rules=RULES)
    assert not decision.promote
    # |N(0, 1)| < 0.1 has probability 0.08
    assert decision.figures["coverage_quantiles"] == pytest.approx(0.08, abs=0.04)


def test_a_probability_needs_no_interval():
    assert passed(decide("lstm", rows(0.2), GOOD, None, unit="probability", rules=RULES))[COVERAGE]


def test_the_best_by_validation_is_chosen_even_if_another_is_better_on_test():
    late = rows(0.0)
    late.loc[PART:, "forecast"] = late["truth"][PART:]
    assert choose_by_validation({"late": late, "early": rows(0.1)}) == "early"


def test_no_skill_anywhere_is_an_error_that_names_the_candidates():
    still = rows(0.1).assign(truth=100.0)
    with pytest.raises(ModelError, match="none of lstm has a skill"):
        choose_by_validation({"lstm": still})


def test_verdicts_are_corrected_for_the_candidates_tried():
    weak = rows(0.05, noise=0.35, seed=8)
    alone = judge_candidates({"a": weak}, "price")["a"]
    among = judge_candidates({"a": weak, "b": rows(0.0, 0.5, 2), "c": rows(0.0, 0.5, 3)}, "price")["a"]
    assert (alone.tried, among.tried) == (1, 3)
    # Holm multiplies the smallest p-value by the number of questions
    assert 0 < alone.p_corrected < 1 / 3
    assert among.p_corrected == pytest.approx(3 * alone.p_corrected)


def test_a_verdict_is_corrected_for_decisions_made_on_the_same_bars_before():
    once = replace(GOOD, p_corrected=0.02)
    assert once.after(0) == once
    # two looks: 0.04, still under 5 %; three: 0.06
    assert (once.after(1).verdict, once.after(1).p_corrected) == ("beats persistence", pytest.approx(0.04))
    third = once.after(2)
    assert (third.verdict, third.p_corrected) == ("no evidence of skill", pytest.approx(0.06))
    assert once.after(1000).p_corrected == 1.0
    said = decide("lstm", rows(0.2), replace(third, tried=3), None, unit="price", rules=RULES).reason
    assert (
        "'no evidence of skill' (skill +10 %, p = 0.06, corrected for 3 tried, 2 decisions before on these bars)"
        in said
    )


def test_a_suspicious_verdict_stays_suspicious_however_often_it_was_tried():
    assert replace(GOOD, verdict="suspiciously good: check for leakage").after(10**6).verdict.startswith("suspiciously")
