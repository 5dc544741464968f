"""Time of day, of the week and of the year in which a bar starts (UTC), as points on a circle: December is next to January."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.windows.features.registry import feature, stamps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carrossel.windows.features.registry import Bars


@feature
def hour_sin(bars: Bars) -> NDArray[np.float64]:
    """Sine of the hour's angle, 24 hours round; minutes count as parts of an hour."""
    return np.sin(_hour(bars))


@feature
def hour_cos(bars: Bars) -> NDArray[np.float64]:
    """Cosine of the hour's angle."""
    return np.cos(_hour(bars))


@feature
def weekday_sin(bars: Bars) -> NDArray[np.float64]:
    """Sine of the weekday's angle, 7 days round, Monday at 0."""
    return np.sin(_weekday(bars))


@feature
def weekday_cos(bars: Bars) -> NDArray[np.float64]:
    """Cosine of the weekday's angle."""
    return np.cos(_weekday(bars))


@feature
def month_sin(bars: Bars) -> NDArray[np.float64]:
    """Sine of the month's angle, 12 months round, January at 0."""
    return np.sin(_month(bars))


@feature
def month_cos(bars: Bars) -> NDArray[np.float64]:
    """Cosine of the month's angle."""
    return np.cos(_month(bars))


def _angle(part: NDArray[np.int64], whole: int) -> NDArray[np.float64]:
    return 2 * np.pi * part.astype(np.float64) / whole


def _hour(bars: Bars) -> NDArray[np.float64]:
    return _angle(_count(bars, "m") % (24 * 60), 24 * 60)


def _weekday(bars: Bars) -> NDArray[np.float64]:
    return _angle((_count(bars, "D") + 3) % 7, 7)  # 1970-01-01, day 0, was a Thursday


def _month(bars: Bars) -> NDArray[np.float64]:
    return _angle(_count(bars, "M") % 12, 12)


def _count(bars: Bars, unit: str) -> NDArray[np.int64]:
    """Whole units since 1970."""
    return stamps(bars).astype(f"datetime64[{unit}]").view(np.int64)
