"""What a canonical bar is: seen, carried over a short gap, or missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATUSES = ("observed", "filled", "missing")
OBSERVED, FILLED, MISSING = range(3)


def spell(codes: NDArray[np.int8]) -> Any:
    """Status codes as a pandas string array, without a Python string per bar."""
    spelled = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(STATUSES)).cast(pa.large_string())
    return pd.array(spelled, dtype="str")


def encode(status: pd.Series) -> NDArray[np.int8]:
    """The codes of a status column; anything unknown is −1."""
    found = pc.index_in(
        pa.chunked_array(pa.array(status.array, pa.large_string())), pa.array(STATUSES, pa.large_string())
    )
    return np.asarray(found.fill_null(-1).to_numpy(), np.int8)
