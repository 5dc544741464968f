"""Time of day, of the week and of the year in which a bar starts (UTC), as points on a circle: December is next to January."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.windows.features.registry import feature

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


@feature
def hour_sin(bars: pd.DataFrame) -> NDArray[np.float64]:
    """Sine of the hour's angle, 24 hours round; minutes count as parts of an hour."""
    return np.sin(_hour(bars))


@feature
def hour_cos(bars: pd.DataFrame) -> NDArray[np.float64]:
    """Cosine of the hour's angle."""
    return np.cos(_hour(bars))


@feature
def weekday_sin(bars: pd.DataFrame) -> NDArray[np.float64]:
    """Sine of the weekday's angle, 7 days round, Monday at 0."""
    return np.sin(_weekday(bars))


@feature
def weekday_cos(bars: pd.DataFrame) -> NDArray[np.float64]:
    """Cosine of the weekday's angle."""
    return np.cos(_weekday(bars))


@feature
def month_sin(bars: pd.DataFrame) -> NDArray[np.float64]:
    """Sine of the month's angle, 12 months round, January at 0."""
    return np.sin(_month(bars))


@feature
def month_cos(bars: pd.DataFrame) -> NDArray[np.float64]:
    """Cosine of the month's angle."""
    return np.cos(_month(bars))


def _angle(part: pd.Series, whole: int) -> NDArray[np.float64]:
    return 2 * np.pi * part.to_numpy(dtype=np.float64) / whole


def _hour(bars: pd.DataFrame) -> NDArray[np.float64]:
    time = bars["timestamp"].dt
    return _angle(time.hour * 60 + time.minute, 24 * 60)


def _weekday(bars: pd.DataFrame) -> NDArray[np.float64]:
    return _angle(bars["timestamp"].dt.day_of_week, 7)


def _month(bars: pd.DataFrame) -> NDArray[np.float64]:
    return _angle(bars["timestamp"].dt.month - 1, 12)
