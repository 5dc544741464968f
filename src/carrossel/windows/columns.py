"""Bars as plain arrays: what a server has, where a pandas frame would cost more than the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

Kept = TypeVar("Kept")
NUMERIC = ("open", "high", "low", "close", "volume", "realised_variance")


class BarColumns(Mapping[str, "NDArray[np.float64]"]):
    """Columns of bars by name, oldest bar first.

    Args:
        timestamps: start of each bar, UTC, datetime64[ns], shape [time].
        columns: float64, shape [time] each.
    """

    def __init__(self, timestamps: NDArray[np.datetime64], columns: Mapping[str, NDArray[np.float64]]) -> None:
        self.timestamps = timestamps
        self._columns = columns
        self._kept: dict[Any, Any] = {}

    def keep(self, compute: Callable[[BarColumns], Kept]) -> Kept:
        """What is computed from these bars, once however many features ask."""
        if compute not in self._kept:
            self._kept[compute] = compute(self)
        found: Kept = self._kept[compute]
        return found

    @classmethod
    def of(cls, bars: pd.DataFrame) -> BarColumns:
        """The numeric columns of a frame with `timestamp` in UTC."""
        stamps = bars["timestamp"].dt.tz_convert(None).to_numpy().astype("datetime64[ns]")
        return cls(stamps, {name: bars[name].to_numpy(dtype=np.float64) for name in NUMERIC if name in bars})

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)
