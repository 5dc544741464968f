"""What counts as wrong in raw bars, why, and what is done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """One check.

    Attributes:
        check: name for programs.
        title: name for people.
        text: what counts.
        repair: what is done with the rows found.
        advice: what the user can do when there are too many.
        limited: whether more than 1 % of such rows is an error.
    """

    check: str
    title: str
    text: str
    repair: str = "left out: a gap"
    advice: str = "Mend the file"
    limited: bool = True


@dataclass(frozen=True)
class Finding:
    """What one rule found: how many rows, and the first few as plain JSON data."""

    rule: Rule
    count: int
    examples: tuple[dict[str, Any], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "check": self.rule.check,
            "title": self.rule.title,
            "rule": self.rule.text,
            "count": self.count,
            "repair": self.rule.repair if self.count else "none",
            "examples": list(self.examples),
        }


UNORDERED = Rule(
    "unordered",
    "Rows out of order",
    "A row whose time is before that of the row above it: some files have the newest first.",
    repair="sorted by time",
    limited=False,
)
UNFINISHED = Rule(
    "unfinished",
    "Unfinished bars",
    "A bar whose interval hasn't ended yet: its close will change.",
    repair="left out",
    limited=False,
)
WITHOUT_PRICE = Rule(
    "without_price",
    "Rows without price",
    "A row that lacks open, high, low or close: exchanges write such rows where nothing was traded.",
    limited=False,
)
NOT_POSITIVE = Rule("not_positive", "Impossible numbers", "A price of zero or less, or a volume below zero.")
OFF_GRID = Rule(
    "off_grid",
    "Bars off the grid",
    "A bar that doesn't start where the declared interval and calendar have one, such as a stock's bar on a holiday.",
    repair="left out",
    advice="Check the dataset's interval and calendar, and the source's timezone",
)
IDENTICAL = Rule(
    "identical_duplicates",
    "Identical duplicates",
    "The same row more than once.",
    repair="one of them kept",
    limited=False,
)
CONFLICTING = Rule(
    "conflicting_duplicates",
    "Conflicting duplicates",
    "Rows of the same time with different numbers.",
    repair="the one that comes last in the file kept",
    advice="Check whether the file mixes several symbols or downloads",
)
WIDENED = Rule(
    "range_widened",
    "Open or close just outside of low … high",
    "By at most 0.1 %, as rounding and adjusting do.",
    repair="low or high moved to include it",
    limited=False,
)
OUTSIDE_RANGE = Rule(
    "outside_range",
    "Open or close outside of low … high",
    "By more than 0.1 %: one of the four is wrong.",
    advice=(
        "The columns may be adjusted differently (a split?); to take one column alone as the price, set the source's "
        "columns: {close: Open}"
    ),
)
BAD_PRINTS = Rule(
    "bad_prints",
    "Bad prints",
    "A single bar that jumps away from both neighbours, which agree with each other, by more than 20 robust standard "
    "deviations and by more than 20 % (open, close) or a factor of 2 (high, low).",
)
COPIES = Rule(
    "copies",
    "Copies of earlier bars",
    "Three or more consecutive bars that equal earlier ones in open, high, low, close and volume.",
    advice="The file may be pasted together from overlapping downloads",
)
THIN = Rule(
    "thin",
    "Thin bars",
    "An aggregated bar made of fewer than half as many bars as usual.",
    repair="kept",
    limited=False,
)
