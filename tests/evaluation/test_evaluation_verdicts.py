from __future__ import annotations

from typing import Any

import pytest

from carrossel.evaluation.echo import Echo
from carrossel.evaluation.judgement import Judgement, decide
from carrossel.evaluation.verdicts import (
    describe_dataset,
    describe_judgement,
    describe_registration,
    format_p,
    format_percent,
    format_skill,
)

ECHO = Echo(skill=-0.01, beta=0.01, correlations=(0.0, 1.0), peak=1, is_echo=True)
AHEAD = Echo(skill=0.01, beta=0.5, correlations=(1.0, 0.0), peak=0, is_echo=False)


def judgement(verdict: Any, skill: float = 0.004, p: float = 0.031) -> Judgement:
    return Judgement(skill, skill - 0.002, skill + 0.002, p / 22, p, 22, verdict, None)


@pytest.mark.parametrize(
    ("skill", "p", "unit", "echo", "verdict"),
    [
        (0.01, 0.04, "price", AHEAD, "beats persistence"),
        (0.01, 0.06, "price", AHEAD, "no evidence of skill"),
        (-0.01, 0.9, "price", ECHO, "echo"),
        (-0.01, 0.9, "price", AHEAD, "no evidence of skill"),
        (-0.01, 0.9, "probability", None, "no evidence of skill"),
        (0.3, 0.001, "price", AHEAD, "suspiciously good: check for leakage"),
        (0.3, 0.9, "probability", None, "suspiciously good: check for leakage"),
        (0.3, 0.001, "log_variance", AHEAD, "beats persistence"),
        (0.95, 0.001, "log_variance", AHEAD, "suspiciously good: check for leakage"),
    ],
)
def test_the_verdict_follows_skill_p_and_echo(skill: float, p: float, unit: Any, echo: Echo, verdict: str) -> None:
    assert decide(skill, p, unit, echo) == verdict


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (
            "beats persistence",
            "beats 'tomorrow = today' (p = 0.031, corrected for 22 tried): skill +0.4 %, 95 % interval",
        ),
        ("no evidence of skill", "no evidence of skill (p = 0.031, corrected for 22 tried): skill +0.4 %"),
        ("echo", "echo: it repeats the last value (skill +0.4 %"),
        ("suspiciously good: check for leakage", "suspiciously good: check for leakage (skill +0.4 %"),
    ],
)
def test_a_competitors_sentence_has_verdict_and_numbers(verdict: str, sentence: str) -> None:
    assert describe_judgement(judgement(verdict)).startswith(sentence)
    assert "+0.2 % to +0.6 %" in describe_judgement(judgement(verdict))


@pytest.mark.parametrize(
    ("verdict", "headline"),
    [
        (
            "beats persistence",
            (
                "lstm, chosen on validation, beats 'tomorrow = today' on google by 0.4 % in squared error "
                "(p = 0.031; 1 of 2 competitors beats it)."
            ),
        ),
        (
            "echo",
            "lstm, chosen on validation, is an echo on google: it repeats the last value (0 of 2 competitors beat it).",
        ),
        (
            "no evidence of skill",
            (
                "No evidence of skill on google: lstm, chosen on validation, has skill +0.4 % against 'tomorrow = today' "
                "(p = 0.031; 0 of 2 competitors beat it)."
            ),
        ),
        (
            "suspiciously good: check for leakage",
            "lstm, chosen on validation, is suspiciously good on google (skill +0.4 %): check for leakage.",
        ),
    ],
)
def test_the_headline_is_about_the_network_chosen_on_validation(verdict: str, headline: str) -> None:
    judgements = {"ar": judgement("no evidence of skill"), "lstm": judgement(verdict)}
    assert describe_dataset("google", judgements, "lstm") == headline


@pytest.mark.parametrize(
    ("against", "end"),
    [
        (
            {"gain": 0.05, "p": 0.001},
            " It has 5 % less squared error than ar, the best baseline (p = 0.001).",
        ),
        (
            {"gain": -0.05, "p": 0.001},
            " It has 5 % more squared error than ar, the best baseline (p = 0.001).",
        ),
        ({"gain": 0.05, "p": 0.2}, " It can't be told from ar, the best baseline (p = 0.2)."),
    ],
)
def test_the_headline_names_the_best_baseline_and_claims_what_the_test_bears_out(
    against: dict[str, float], end: str
) -> None:
    judgements = {"lstm": judgement("echo"), "ar": judgement("echo")}
    assert describe_dataset("google", judgements, "lstm", "ar", against).endswith(f"beat it).{end}")


def test_only_one_that_beats_persistence_is_registered_as_champion() -> None:
    assert "gate of the champion" in describe_registration("lstm", judgement("beats persistence"))
    assert describe_registration("lstm", judgement("echo")).endswith("'echo': it is registered as challenger.")


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (0.00005, "less than 0.01 %"), (0.0123, "1.2 %"), (0.5, "50 %"), (12.34, "1,234 %")]
)
def test_percents_have_digits_that_suit_their_size(share: float, text: str) -> None:
    assert format_percent(share) == text


def test_skills_carry_their_sign_and_tiny_p_values_a_bound() -> None:
    assert [format_skill(skill) for skill in (0.0042, -0.12, 0.00001)] == ["+0.42 %", "−12 %", "0 %"]
    assert [format_p(p) for p in (0.0312, 1.0, 0.00001)] == ["p = 0.031", "p = 1", "p < 0.0001"]
