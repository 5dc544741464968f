"""Prices and volumes, as they are and as changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.windows.features.registry import change, column, feature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carrossel.windows.features.registry import Bars


@feature
def open(bars: Bars) -> NDArray[np.float64]:  # noqa: A001 - the feature's name in params.yaml
    """First price of the bar."""
    return column(bars, "open")


@feature
def high(bars: Bars) -> NDArray[np.float64]:
    """Highest price of the bar."""
    return column(bars, "high")


@feature
def low(bars: Bars) -> NDArray[np.float64]:
    """Lowest price of the bar."""
    return column(bars, "low")


@feature
def close(bars: Bars) -> NDArray[np.float64]:
    """Last price of the bar."""
    return column(bars, "close")


@feature
def volume(bars: Bars) -> NDArray[np.float64]:
    """Units traded in the bar."""
    return column(bars, "volume")


@feature
def log_return(bars: Bars) -> NDArray[np.float64]:
    """ln(close_t / close_{t-1})."""
    return change(np.log(column(bars, "close")))


@feature
def absolute_return(bars: Bars) -> NDArray[np.float64]:
    """|ln(close_t / close_{t-1})|."""
    return np.abs(log_return(bars))


@feature
def log_absolute_return(bars: Bars) -> NDArray[np.float64]:
    """ln(10⁻⁴ + |ln(close_t / close_{t-1})|); the basis point keeps a bar without a move finite."""
    return np.log(1e-4 + absolute_return(bars))


@feature
def log_range(bars: Bars) -> NDArray[np.float64]:
    """ln(high_t / low_t), the bar's range."""
    return np.log(column(bars, "high") / column(bars, "low"))


@feature
def log_volume(bars: Bars) -> NDArray[np.float64]:
    """ln(1 + volume_t); the 1 keeps bars without a trade finite."""
    return np.log1p(column(bars, "volume"))


@feature
def log_volume_change(bars: Bars) -> NDArray[np.float64]:
    """ln((1 + volume_t) / (1 + volume_{t-1})); the 1 keeps bars without a trade finite."""
    return change(log_volume(bars))
