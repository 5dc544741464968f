"""Bars in Parquet files: the same bars give the same bytes, and a damaged file is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from carrossel.bars.resampling import REALISED_VARIANCE
from carrossel.bars.sources.base import COLUMNS, RawBars, frame_of
from carrossel.bars.status import STATUSES, encode
from carrossel.errors import BarsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PROVENANCE = b"carrossel.provenance"
_TIME = pa.timestamp("ns", "UTC")
_RAW_SCHEMA = pa.schema([("timestamp", _TIME), *((name, pa.float64()) for name in COLUMNS[1:])])
_STATUS = pa.field("status", pa.dictionary(pa.int8(), pa.string()))
_BARS_SCHEMA = _RAW_SCHEMA.append(_STATUS)
_RESAMPLED_SCHEMA = _RAW_SCHEMA.append(pa.field(REALISED_VARIANCE, pa.float64())).append(_STATUS)


def write_raw(path: Path, raw: RawBars) -> None:
    """Write what a source delivered, its provenance in the file's metadata.

    `path` is written to as it is: see `files.replacing`.
    """
    provenance = json.dumps(raw.provenance, sort_keys=True, allow_nan=False).encode()
    schema = _RAW_SCHEMA.with_metadata({_PROVENANCE: provenance})
    _write(path, pa.table(_arrays(raw.frame), schema=schema))


def read_raw(path: Path) -> RawBars:
    """Read what `write_raw` wrote.

    Raises:
        BarsError: if the file is missing, truncated or something else.
    """
    schema = _inspect(path, _RAW_SCHEMA)
    provenance = json.loads((schema.metadata or {}).get(_PROVENANCE, b"{}"))
    return RawBars(_frame(path), provenance)


def write_bars(path: Path, bars: pd.DataFrame) -> None:
    """Write canonical bars. `path` is written to as it is: see `files.replacing`."""
    status = pa.DictionaryArray.from_arrays(pa.array(encode(bars["status"])), pa.array(STATUSES))
    schema = _RESAMPLED_SCHEMA if REALISED_VARIANCE in bars else _BARS_SCHEMA
    _write(path, pa.table([*_arrays(bars, schema.names[1:-1]), status], schema=schema))


def read_bars(path: Path) -> pd.DataFrame:
    """Read canonical bars: timestamp (datetime64[ns, UTC]), open, high, low, close, volume (float64), status (str).

    Between volume and status comes realised_variance (float64) where `prepare` resampled finer bars.

    Raises:
        BarsError: if the file is missing, truncated or something else.
    """
    schema = _inspect(path, _BARS_SCHEMA, _RESAMPLED_SCHEMA)
    bars = _frame(path, schema.names[1:-1])
    bars["status"] = pd.array(_column(path, "status").combine_chunks().cast(pa.large_string()), dtype="str")
    return bars


def _arrays(frame: pd.DataFrame, names: Sequence[str] = COLUMNS[1:]) -> list[Any]:
    stamps = frame["timestamp"].dt.tz_localize(None).to_numpy().view(np.int64)
    return [pa.array(stamps).cast(_TIME), *(pa.array(frame[name].to_numpy()) for name in names)]


def _frame(path: Path, names: Sequence[str] = COLUMNS[1:]) -> pd.DataFrame:
    stamps = np.asarray(_column(path, "timestamp").cast(pa.int64()).to_numpy()).view("datetime64[ns]")
    return frame_of(stamps, {name: np.asarray(_column(path, name).to_numpy()) for name in names})


def _column(path: Path, name: str) -> Any:
    """One column alone: the whole table beside its copy would be the peak of memory."""
    try:
        pa.default_memory_pool().release_unused()
        return pq.read_table(path, columns=[name])[name]
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def _write(path: Path, table: Any) -> None:
    pq.write_table(table, path, compression="zstd", row_group_size=1 << 20)


def _inspect(path: Path, *expected: Any) -> Any:
    """The file's schema, if it is one of those expected; messages name the first."""
    try:
        schema = pq.read_schema(path)
    except FileNotFoundError:
        raise BarsError(f"{path} doesn't exist. Run the stage that writes it: dvc repro.") from None
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None
    if not any(schema.names == known.names and schema.types == known.types for known in expected):
        raise BarsError(
            f"{path} has columns {', '.join(schema.names)}; expected {', '.join(expected[0].names)}. Run dvc repro."
        )
    return schema


def _damaged(path: Path, error: Exception) -> BarsError:
    return BarsError(f"{path} isn't a whole Parquet file: {error}. Delete it and run dvc repro.")
