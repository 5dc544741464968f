"""Rows of an exchange's answer as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from carrossel.bars.parsing.timestamps import to_utc
from carrossel.bars.sources.base import COLUMNS, frame_of
from carrossel.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

_ENOUGH = 5
_ROUNDING = 1e-9


def candles(rows: Any, fields: Sequence[Any], step: int, where: str) -> pd.DataFrame:
    """Bars out of an answer's rows.

    Args:
        rows: a list of lists or mappings, numbers as numbers or text; times in any unit since 1970, told apart by size.
        fields: place or key of timestamp, open, high, low, close, volume in a row.
        step: length of a bar in nanoseconds.
        where: the URL, for messages.

    Raises:
        SourceError: naming the first row that isn't understood. If most rows have a close outside of low … high, or don't lie
            on the grid, the answer's layout isn't the known one.
    """
    if not isinstance(rows, list):
        raise misread(where, rows, "a list of candles")
    try:
        values = np.array([_numbers(row, fields) for row in rows], np.float64).reshape(len(rows), len(COLUMNS))
        times = np.array([_time(row[fields[0]]) for row in rows], np.int64)
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        bad = next(row for row in rows if not _readable(row, fields))
        raise misread(where, bad, "a candle of time, open, high, low, close and volume") from None
    return bars(times, {name: values[:, i] for i, name in enumerate(COLUMNS) if i}, step, where)


def bars(times: np.ndarray, columns: Mapping[str, np.ndarray], step: int, where: str) -> pd.DataFrame:
    """Bars out of columns, after the same checks.

    Args:
        times: int64, in any unit since 1970.
    """
    if not len(times):
        return frame_of(np.array([], "datetime64[ns]"), dict(columns))
    stamps = _stamps(times, where)
    if (broken := ~np.isfinite(np.array(list(columns.values()))).all(axis=0)).any():
        first = int(np.flatnonzero(broken)[0])
        raise misread(where, {name: float(column[first]) for name, column in columns.items()}, "numbers")
    if len(times) >= _ENOUGH:  # of fewer, a single bad print would be most
        _refuse_another_layout(stamps.view(np.int64), columns, step, where)
    return frame_of(stamps, columns)


def misread(where: str, what: Any, expected: str) -> SourceError:
    """The error for something that isn't as the exchange documents it."""
    return SourceError(
        f"{where}: not understood, {repr(what)[:200]} came, expected {expected}. Check the source's symbol and URL; perhaps the "
        "exchange changed its answers. What is stored stays."
    )


def _refuse_another_layout(stamps: np.ndarray, columns: Mapping[str, np.ndarray], step: int, where: str) -> None:
    opened, high, low, close = (columns[name] for name in ("open", "high", "low", "close"))
    outside = (np.minimum(opened, close) < low * (1 - _ROUNDING)) | (np.maximum(opened, close) > high * (1 + _ROUNDING))
    if outside.mean() > 0.5:  # noqa: PLR2004 -- most
        row = {name: float(column[0]) for name, column in columns.items()}
        raise misread(where, row, "prices between low and high: its columns seem to have another order")
    if (stamps % step != 0).mean() > 0.5 or (np.diff(np.sort(stamps)) % step != 0).mean() > 0.5:  # noqa: PLR2004 -- most
        raise misread(
            where, [str(s.view("datetime64[ns]")) for s in stamps[:2]], f"bars of {step / 1e9:g} s on their grid"
        )


def _numbers(row: Any, fields: Sequence[Any]) -> list[float]:
    if not isinstance(row, (list, tuple, dict)):
        raise TypeError
    values = [row[field] for field in fields]
    if any(isinstance(value, bool) for value in values):
        raise TypeError
    numbers = [float(value) for value in values]
    if not np.isfinite(numbers).all():
        raise ValueError
    return numbers


def _time(value: Any) -> int:
    return value if isinstance(value, int) else round(float(value))


def _readable(row: Any, fields: Sequence[Any]) -> bool:
    try:
        _numbers(row, fields)
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        return False
    return _time(row[fields[0]]) in range(-(2**63), 2**63)


def _stamps(times: np.ndarray, where: str) -> np.ndarray:
    try:
        stamps = to_utc(pa.chunked_array([pa.array(times)])).values  # noqa: PD011 -- a field of Stamps
    except SourceError:
        stamps = np.full(len(times), np.datetime64("NaT"), "datetime64[ns]")
    if (lost := np.isnat(stamps)).any():
        raise misread(where, int(times[lost][0]), "a time in seconds, milliseconds or microseconds since 1970")
    return np.asarray(stamps)
