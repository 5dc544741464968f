"""Plain sentences about what was measured: they claim what the tests bear out and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carrossel.evaluation.judgement import Judgement

_SMALLEST_PERCENT = 0.01
_SMALLEST_P = 1e-4
_SURE = 0.05


def describe_judgement(found: Judgement) -> str:
    """One sentence about one competitor on the test part."""
    change = (
        f"skill {format_skill(found.skill)}, 95 % interval {format_skill(found.lower)} to {format_skill(found.upper)}"
    )
    p = f"{format_p(found.p_corrected)}, corrected for {found.tried} tried"
    if found.verdict == "beats persistence":
        return f"beats 'tomorrow = today' ({p}): {change}"
    if found.verdict == "echo":
        return f"echo: it repeats the last value ({change})"
    if found.verdict == "no evidence of skill":
        return f"no evidence of skill ({p}): {change}"
    return f"suspiciously good: check for leakage ({change})"


def describe_dataset(
    dataset: str,
    judgements: Mapping[str, Judgement],
    best: str,
    best_baseline: str | None = None,
    against: Mapping[str, float] | None = None,
) -> str:
    """The headline of one dataset.

    It is about the network chosen on validation: the luckiest on test proves nothing.

    Args:
        dataset: its name in params.yaml.
        judgements: by competitor.
        best: the best network by validation.
        best_baseline: the best baseline by validation.
        against: the one against the other: `gain` (1 − MSE / MSE of the baseline) and `p`, two-sided.
    """
    found = judgements[best]
    winners = sum(other.verdict == "beats persistence" for other in judgements.values())
    field = f"{winners} of {_count(len(judgements))} {'beats' if winners == 1 else 'beat'} it"
    if found.verdict == "beats persistence":
        head = (
            f"{best}, chosen on validation, beats 'tomorrow = today' on {dataset} by {format_percent(found.skill)} in squared "
            f"error ({format_p(found.p_corrected)}; {field})"
        )
    elif found.verdict == "echo":
        head = f"{best}, chosen on validation, is an echo on {dataset}: it repeats the last value ({field})"
    elif found.verdict == "no evidence of skill":
        head = (
            f"No evidence of skill on {dataset}: {best}, chosen on validation, has skill {format_skill(found.skill)} against "
            f"'tomorrow = today' ({format_p(found.p_corrected)}; {field})"
        )
    else:
        head = (
            f"{best}, chosen on validation, is suspiciously good on {dataset} (skill {format_skill(found.skill)}): "
            "check for leakage"
        )
    return head + "." + _describe_against(best_baseline, against)


def _describe_against(baseline: str | None, against: Mapping[str, float] | None) -> str:
    if baseline is None or against is None:
        return ""
    gain = against["gain"]
    p = against["p"]
    if p >= _SURE:
        return f" It can't be told from {baseline}, the best baseline ({format_p(p)})."
    return (
        f" It has {format_percent(abs(gain))} {'less' if gain > 0 else 'more'} squared error than {baseline}, the best "
        f"baseline ({format_p(p)})."
    )


def describe_registration(best: str, found: Judgement) -> str:
    """What the best by validation deserves, and why; the alias itself is decided at the gate."""
    if found.verdict == "beats persistence":
        return (
            f"{best} is best by validation and beats 'tomorrow = today' on test ({format_p(found.p_corrected)}): "
            "it goes to the gate of the champion."
        )
    return f"{best} is best by validation; on test the verdict is '{found.verdict}': it is registered as challenger."


def format_percent(share: float) -> str:
    """A share ≥ 0 as percent with digits that suit its size: `0.42 %`, `12 %`, `less than 0.01 %`."""
    percent = 100 * share
    if percent == 0:
        return "0 %"
    if percent < _SMALLEST_PERCENT:
        return f"less than {_SMALLEST_PERCENT} %"
    return f"{percent:.2g} %" if percent < 100 else f"{percent:,.0f} %"  # noqa: PLR2004 - three digits need no decimals


def format_skill(skill: float) -> str:
    """A signed percentage: `+0.42 %`, `−12 %`."""
    if abs(skill) < _SMALLEST_PERCENT / 100:
        return "0 %"
    return ("+" if skill > 0 else "−") + format_percent(abs(skill))


def format_p(p: float) -> str:
    """`p = 0.031`, `p < 0.0001`."""
    return f"p = {p:.2g}" if p >= _SMALLEST_P else f"p < {_SMALLEST_P:.4f}"


def _count(number: int) -> str:
    return f"{number} {'competitor' if number == 1 else 'competitors'}"
