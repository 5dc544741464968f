"""Lengths of bars, written as people write them: `1min`, `15min`, `1h`, `1d`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

DAY = 86_400_000_000_000
_NANOSECONDS = {"s": 1_000_000_000, "min": 60_000_000_000, "h": 3_600_000_000_000, "d": DAY}

Interval = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}(s|min|h|d)$", examples=["1min", "15min", "1h", "1d"])]


def nanoseconds(interval: str) -> int:
    """Length of an interval in nanoseconds.

    Raises:
        ValueError: if it isn't a number followed by s, min, h or d.
    """
    match = re.fullmatch(r"([0-9]+)(s|min|h|d)", interval)
    if match is None:
        raise ValueError(f"{interval!r} isn't an interval such as 15min, 1h or 1d")
    return int(match[1]) * _NANOSECONDS[match[2]]


def written(length: int) -> str:
    """An interval in nanoseconds as people write it, in the largest unit that divides it."""
    for unit, size in reversed(_NANOSECONDS.items()):
        if length % size == 0:
            return f"{length // size}{unit}"
    return f"{length}ns"
