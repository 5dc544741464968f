"""Columns of numbers that a statistic can be computed from: finite, one-dimensional, equally long."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from carrossel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    Column: TypeAlias = pd.Series | NDArray[np.float64] | NDArray[np.bool_]


def read_columns(columns: Mapping[str, Column]) -> list[NDArray[np.float64]]:
    """The columns as float64 arrays [rows], in the order given.

    Args:
        columns: by the name an error message gives them.

    Raises:
        ModelError: if there is no row, lengths differ or a value isn't finite.
    """
    arrays = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or next(iter(arrays.values())).ndim != 1:
        raise ModelError(f"columns of one length were expected, not of shapes {shapes}: give each the same rows.")
    for name, array in arrays.items():
        if not array.size:
            raise ModelError(f"{name} has no rows: there is nothing to measure. Check the splits of this part.")
        bad = int(np.sum(~np.isfinite(array)))
        if bad:
            raise ModelError(
                f"{name}: {bad} of {array.size} values aren't finite numbers; leave those rows out of every column."
            )
    return list(arrays.values())
