"""Numbers as the report prints them."""

from __future__ import annotations

from math import floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DASH = "–"
_DIGITS = 5
_SMALLEST_P = 1e-4


def number(value: float | None, decimals: int, *, sign: bool = False) -> str:
    """`1,234.5`, a real minus sign, a dash for nothing."""
    if value is None:
        return DASH
    return f"{value:{'+' if sign else ''}z,.{decimals}f}".replace("-", "−")


def percent(value: float | None, decimals: int, *, sign: bool = False) -> str:
    """A share as percent: `+0.42 %`."""
    if value is None:
        return DASH
    if sign and value == 0:
        return "0 %"
    return number(100 * value, decimals, sign=sign) + " %"


def interval(lower: float, upper: float, decimals: int) -> str:
    """Two shares as percent: `−0.10 … +0.90`."""
    return f"{number(100 * lower, decimals, sign=True)} … {number(100 * upper, decimals, sign=True)}"


def p_value(p: float | None) -> str:
    """`0.031`, `< 0.0001`."""
    if p is None:
        return DASH
    return f"{p:.2g}" if p >= _SMALLEST_P else f"< {_SMALLEST_P:.4f}"


def choose_decimals(values: Iterable[float]) -> int:
    """Decimals that give the largest value five digits: enough to tell competitors apart."""
    largest = max((abs(value) for value in values), default=0.0)
    return max(0, _DIGITS - 1 - floor(log10(largest))) if largest > 0 else 0
