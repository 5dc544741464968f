"""Features by name, and what all of them need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.windows.columns import BarColumns

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    Bars = pd.DataFrame | BarColumns
    Feature = Callable[[Bars], NDArray[np.float64]]

FEATURES: dict[str, Feature] = {}


def feature(function: Feature) -> Feature:
    """Register a feature under its function's name."""
    FEATURES[function.__name__] = function
    return function


def column(bars: Bars, name: str) -> NDArray[np.float64]:
    """One column of the bars, shape [time]."""
    return np.asarray(bars[name], dtype=np.float64)


def stamps(bars: Bars) -> NDArray[np.datetime64]:
    """The bars' timestamps, UTC, datetime64[ns], shape [time]."""
    if isinstance(bars, BarColumns):
        return bars.timestamps
    return np.asarray(bars["timestamp"].dt.tz_convert(None), dtype="datetime64[ns]")


def change(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Difference to the bar before, NaN at the first."""
    found = np.empty_like(values)
    found[:1] = np.nan
    np.subtract(values[1:], values[:-1], out=found[1:])
    return found
