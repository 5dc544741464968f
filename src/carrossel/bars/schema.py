"""The contract of raw and canonical bars, as pandera schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandera.pandas as pa
from pandera.errors import SchemaError

from carrossel.bars.resampling import REALISED_VARIANCE
from carrossel.bars.sources.base import PRICES
from carrossel.bars.status import MISSING, STATUSES, encode
from carrossel.errors import BarsError

if TYPE_CHECKING:
    import pandas as pd

_TIME = "datetime64[ns, UTC]"

RAW = pa.DataFrameSchema(
    {
        "timestamp": pa.Column(_TIME, nullable=False),
        **{name: pa.Column("float64", nullable=True) for name in (*PRICES, "volume")},
    },
    strict=True,
    ordered=True,
    name="raw bars",
)


def _increasing(frame: pd.DataFrame) -> bool:
    stamps = frame["timestamp"].dt.tz_localize(None).to_numpy()
    return bool((stamps[1:] > stamps[:-1]).all())


def _known_status(frame: pd.DataFrame) -> bool:
    return bool((encode(frame["status"]) >= 0).all())


def _prices_where_known(frame: pd.DataFrame) -> bool:
    known = encode(frame["status"]) != MISSING
    return all(bool((np.isfinite(frame[name].to_numpy()) == known).all()) for name in PRICES)


def _positive(frame: pd.DataFrame) -> bool:
    return not any(bool((frame[name].to_numpy() <= 0).any()) for name in PRICES) and not bool(
        (frame["volume"].to_numpy() < 0).any()
    )


def _variance_at_known_prices(frame: pd.DataFrame) -> bool:
    if REALISED_VARIANCE not in frame:
        return True
    variance = frame[REALISED_VARIANCE].to_numpy()
    missing = encode(frame["status"]) == MISSING
    return not bool((variance < 0).any() or np.isinf(variance).any() or np.isfinite(variance[missing]).any())


def _in_range(frame: pd.DataFrame) -> bool:
    low, high = frame["low"].to_numpy(), frame["high"].to_numpy()
    return not any(
        bool((price > high).any() or (price < low).any())
        for price in (frame["open"].to_numpy(), frame["close"].to_numpy())
    )


# Whole-frame checks on arrays: pandera's checks by column copy every column once more to leave out its NaN.
CANONICAL = pa.DataFrameSchema(
    {
        "timestamp": pa.Column(_TIME),
        **{name: pa.Column("float64", nullable=True) for name in (*PRICES, "volume")},
        REALISED_VARIANCE: pa.Column("float64", nullable=True, required=False),
        "status": pa.Column("str"),
    },
    checks=[
        pa.Check(_increasing, error="timestamps strictly increase"),
        pa.Check(_known_status, error=f"status is one of {', '.join(STATUSES)}"),
        pa.Check(_prices_where_known, error="prices are there exactly where status isn't missing"),
        pa.Check(_positive, error="prices are above zero and volumes not below"),
        pa.Check(
            _variance_at_known_prices,
            error="realised variances aren't below zero, and there is none where a bar is missing",
        ),
        pa.Check(_in_range, error="open and close lie in low … high"),
    ],
    strict=True,
    ordered=True,
    name="canonical bars",
)


def check(frame: pd.DataFrame, schema: pa.DataFrameSchema) -> None:
    """Hold a frame against a contract.

    Raises:
        BarsError: naming the first thing that breaks it.
    """
    try:
        schema.validate(frame, inplace=True)  # checks change nothing, and a copy would cost as much as the bars
    except SchemaError as error:
        raise BarsError(f"{schema.name} break their contract: {str(error).splitlines()[0]}") from None
