"""Bars in Parquet files: the same bars give the same bytes, and a damaged file is named."""

from __future__ import annotations

import json
import shutil
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
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_PROVENANCE = b"carrossel.provenance"
_TIME = pa.timestamp("ns", "UTC")
_RAW_SCHEMA = pa.schema([("timestamp", _TIME), *((name, pa.float64()) for name in COLUMNS[1:])])
_STATUS = pa.field("status", pa.dictionary(pa.int8(), pa.string()))
_BARS_SCHEMA = _RAW_SCHEMA.append(_STATUS)
_RESAMPLED_SCHEMA = _RAW_SCHEMA.append(pa.field(REALISED_VARIANCE, pa.float64())).append(_STATUS)
_SMALL = {"use_dictionary": False, "column_encoding": {"timestamp": "DELTA_BINARY_PACKED"}}  # half the size and time


def write_raw(folder: Path, raw: RawBars) -> None:
    """Write what a source delivered into `bars.parquet`, its provenance in the file's metadata.

    The folder is written to as it is: see `files.replacing_folder`.
    """
    _write(folder / "bars.parquet", pa.table(_arrays(raw.frame), schema=_raw_schema(raw.provenance)))


def write_raw_partitions(
    folder: Path, partitions: Iterable[tuple[str, pd.DataFrame]], provenance: dict[str, Any], before: Path
) -> int:
    """Write one file per partition; files that say the same as before stay the same files, so that they are stored once.

    The folder is written to as it is: see `files.replacing_folder`.

    Args:
        partitions: names, which sort as time does, and bars; in any order.
        provenance: as in `RawBars`.
        before: what `folder` will replace.

    Returns:
        How many rows there are.
    """
    schema, rows = _raw_schema(provenance), 0
    for name, frame in partitions:
        path, old = folder / f"{name}.parquet", before / f"{name}.parquet"
        sink = pa.BufferOutputStream()
        _write(sink, pa.table(_arrays(frame), schema=schema), **_SMALL)
        contents = sink.getvalue().to_pybytes()
        if old.is_file() and old.stat().st_size == len(contents) and old.read_bytes() == contents:
            _link(old, path)
        else:
            path.write_bytes(contents)
        rows += len(frame)
    return rows


def read_raw(folder: Path) -> RawBars:
    """Read what `write_raw` or `write_raw_partitions` wrote.

    Raises:
        BarsError: if the folder or a file in it is missing, truncated or something else.
    """
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise BarsError(f"{folder} holds no bars. Run the stage that writes it: dvc repro.")
    provenance = json.loads((_inspect(paths[-1], _RAW_SCHEMA).metadata or {}).get(_PROVENANCE, b"{}"))
    return RawBars(_frame(paths[0]) if len(paths) == 1 else _joined(paths), provenance)


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


def _raw_schema(provenance: dict[str, Any]) -> Any:
    text = json.dumps(provenance, sort_keys=True, allow_nan=False).encode()
    return _RAW_SCHEMA.with_metadata({_PROVENANCE: text})


def _joined(paths: Sequence[Path]) -> pd.DataFrame:
    """The bars of all files, each file read into its place: many at once beside their sum would be twice the memory."""
    edges = np.cumsum([0, *(_rows(path) for path in paths)])
    stamps = np.empty(edges[-1], "datetime64[ns]")
    columns = {name: np.empty(edges[-1]) for name in COLUMNS[1:]}
    for path, first, end in zip(paths, edges[:-1], edges[1:], strict=True):
        try:
            with pq.ParquetFile(path) as file:
                table = file.read(use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from None
        stamps[first:end] = table["timestamp"].cast(pa.int64()).to_numpy().view("datetime64[ns]")
        for name, column in columns.items():
            column[first:end] = table[name].to_numpy()
    return frame_of(stamps, columns)


def _rows(path: Path) -> int:
    _inspect(path, _RAW_SCHEMA)
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def _link(old: Path, new: Path) -> None:
    """The same file under a second name, where the file system can."""
    try:
        new.hardlink_to(old)
    except OSError:
        shutil.copyfile(old, new)


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


def _write(path: Any, table: Any, **settings: Any) -> None:
    pq.write_table(table, path, compression="zstd", row_group_size=1 << 20, **settings)


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
