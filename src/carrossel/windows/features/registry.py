"""Features by name, and what all of them need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    Feature = Callable[[pd.DataFrame], NDArray[np.float64]]

FEATURES: dict[str, Feature] = {}


def feature(function: Feature) -> Feature:
    """Register a feature under its function's name."""
    FEATURES[function.__name__] = function
    return function


def column(bars: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """One column of the bars, shape [time]."""
    return bars[name].to_numpy(dtype=np.float64)


def change(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Difference to the bar before, NaN at the first."""
    return np.diff(values, prepend=np.nan)
