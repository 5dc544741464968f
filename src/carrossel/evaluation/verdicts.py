"""Plain sentences about the scores. They claim what was measured and no more: significance isn't tested here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CAVEAT = "on this test part; significance isn't tested yet"
_SMALLEST_PERCENT = 0.01


def describe_skill(skill: float) -> str:
    """One sentence about one competitor.

    Args:
        skill: 1 − MSE / MSE of persistence, on the test part.
    """
    if skill > 0:
        return f"beats 'tomorrow = today' by {format_percent(skill)} in squared error ({CAVEAT})"
    if skill == 0:
        return f"no better than 'tomorrow = today': the same squared error ({CAVEAT})"
    return f"no better than 'tomorrow = today': {format_percent(-skill)} more squared error ({CAVEAT})"


def describe_dataset(dataset: str, skills: Mapping[str, float], best: str) -> str:
    """The headline of one dataset.

    It is about the competitor chosen on validation: the luckiest on test proves nothing.

    Args:
        dataset: its name in params.yaml.
        skills: test skill by competitor, persistence left out.
        best: the best by validation.
    """
    winners = sorted((name for name, skill in skills.items() if skill > 0), key=lambda name: (-skills[name], name))
    if not winners:
        nearest = max(sorted(skills), key=lambda name: skills[name])
        return (
            f"None of the {_count(skills)} beats 'tomorrow = today' on {dataset}: the nearest, {nearest}, has "
            f"{format_percent(-skills[nearest])} more squared error."
        )
    if best in winners:
        return (
            f"{best}, chosen on validation, beats 'tomorrow = today' on {dataset} by "
            f"{format_percent(skills[best])} in squared error ({len(winners)} of {_count(skills)} do), {CAVEAT}."
        )
    return (
        f"{best}, chosen on validation, doesn't beat 'tomorrow = today' on {dataset}; {len(winners)} of "
        f"{_count(skills)} do, {winners[0]} by most ({format_percent(skills[winners[0]])}), {CAVEAT}."
    )


def describe_registration(best: str, test_skill: float) -> str:
    """Which alias the rule gives to the best by validation, and why."""
    if test_skill > 0:
        return f"{best} is best by validation and beats 'tomorrow = today' on test: it is registered as champion."
    return f"{best} is best by validation but doesn't beat 'tomorrow = today' on test: it is registered as challenger."


def format_percent(share: float) -> str:
    """A share ≥ 0 as percent with digits that suit its size: `0.42 %`, `12 %`, `less than 0.01 %`."""
    percent = 100 * share
    if percent == 0:
        return "0 %"
    if percent < _SMALLEST_PERCENT:
        return f"less than {_SMALLEST_PERCENT} %"
    return f"{percent:.2g} %" if percent < 100 else f"{percent:,.0f} %"  # noqa: PLR2004 - three digits need no decimals


def _count(skills: Mapping[str, float]) -> str:
    return f"{len(skills)} {'competitor' if len(skills) == 1 else 'competitors'}"
