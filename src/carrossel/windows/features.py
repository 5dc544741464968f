"""Features of a bar, by name. All are causal: the value at bar t uses bars up to t and none after.

Each takes canonical bars and returns one value per bar, NaN where the bars it needs are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.errors import ConfigError

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


def _column(bars: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return bars[name].to_numpy(dtype=np.float64)


def _change(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.diff(values, prepend=np.nan)


@feature
def open(bars: pd.DataFrame) -> NDArray[np.float64]:  # noqa: A001 - the feature's name in params.yaml
    """First price of the bar."""
    return _column(bars, "open")


@feature
def high(bars: pd.DataFrame) -> NDArray[np.float64]:
    """Highest price of the bar."""
    return _column(bars, "high")


@feature
def low(bars: pd.DataFrame) -> NDArray[np.float64]:
    """Lowest price of the bar."""
    return _column(bars, "low")


@feature
def close(bars: pd.DataFrame) -> NDArray[np.float64]:
    """Last price of the bar."""
    return _column(bars, "close")


@feature
def volume(bars: pd.DataFrame) -> NDArray[np.float64]:
    """Units traded in the bar."""
    return _column(bars, "volume")


@feature
def log_return(bars: pd.DataFrame) -> NDArray[np.float64]:
    """ln(close_t / close_{t-1})."""
    return _change(np.log(_column(bars, "close")))


@feature
def log_range(bars: pd.DataFrame) -> NDArray[np.float64]:
    """ln(high_t / low_t), the bar's range."""
    return np.log(_column(bars, "high") / _column(bars, "low"))


@feature
def log_volume_change(bars: pd.DataFrame) -> NDArray[np.float64]:
    """ln((1 + volume_t) / (1 + volume_{t-1})); the 1 keeps bars without a trade finite."""
    return _change(np.log1p(_column(bars, "volume")))


def compute_features(bars: pd.DataFrame, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Feature matrix, shape [time, features].

    Raises:
        ConfigError: if a feature has no value on the whole series, such as volume of a series without volume.
    """
    matrix = np.column_stack([FEATURES[name](bars) for name in names])
    for name, column in zip(names, matrix.T, strict=True):
        if not np.isfinite(column).any():
            raise ConfigError(
                f"windows.features: {name!r} has no value anywhere in this series (does it carry volume?). Remove it there."
            )
    return matrix
