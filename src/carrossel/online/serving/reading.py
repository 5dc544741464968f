"""A request's body as bars: checked column by column, without an object per row."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from carrossel.windows.columns import NUMERIC, BarColumns

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRICES = ("open", "high", "low", "close")
_PLAIN = re.compile(r"(?:(?:19|20|21)\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|\+00:00)?\n)+", re.ASCII)
_FIRST, _LAST = dt.datetime(1900, 1, 1, tzinfo=dt.UTC), dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
_KEYS = {"dataset", "bars"}


class Refused(Exception):
    """A request that can't be answered, for a reason that is the client's to mend.

    Attributes:
        status: HTTP's.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Query(NamedTuple):
    """What was asked."""

    dataset: str | None
    bars: BarColumns


def read_query(body: bytes, most_bars: int) -> Query:
    """Parse and check a body.

    Args:
        body: JSON `{"dataset": name, "bars": {column: [values]}}`, or with `bars` as a list of objects, one per bar.
        most_bars: bars, at most.

    Raises:
        Refused: 422, saying which value is wrong and what was expected.
    """
    try:
        query = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(422, f"the body isn't JSON: {error}") from None
    if not isinstance(query, dict):
        raise Refused(422, "the body must be an object with the key bars.")
    if unknown := query.keys() - _KEYS:
        raise Refused(422, f"unknown key {_quote(min(unknown))}; allowed: bars, dataset.")
    dataset, bars = query.get("dataset"), query.get("bars")
    if dataset is not None and not isinstance(dataset, str):
        raise Refused(422, "dataset must be a string.")
    if isinstance(bars, list):
        bars = _turn(bars, most_bars)
    if not isinstance(bars, dict):
        raise Refused(422, "bars must be an object of columns, or a list of objects, one per bar.")
    return Query(dataset, _check(bars, most_bars))


def _turn(rows: list[Any], most_bars: int) -> dict[str, list[Any]]:
    if len(rows) > most_bars:
        raise Refused(422, f"bars has {len(rows)} rows; at most {most_bars} are taken.")
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise Refused(422, "bars, as a list, must hold one object per bar, and at least one.")
    names = rows[0].keys()
    if any(row.keys() != names for row in rows):
        raise Refused(422, "all bars must have the same keys.")
    return {name: [row[name] for row in rows] for name in names}


def _check(columns: dict[str, Any], most_bars: int) -> BarColumns:
    if unknown := columns.keys() - {"timestamp", *NUMERIC}:
        raise Refused(422, f"unknown column {_quote(min(unknown))}; allowed: timestamp, {', '.join(NUMERIC)}.")
    if absent := [name for name in ("timestamp", *PRICES) if name not in columns]:
        raise Refused(422, f"bars lack the columns {', '.join(absent)}.")
    rows = _count(columns, most_bars)
    stamps = _read_stamps(columns["timestamp"])
    if not (stamps[1:] > stamps[:-1]).all():
        row = int((stamps[1:] <= stamps[:-1]).argmax()) + 1
        same = stamps[row] == stamps[row - 1]
        raise Refused(
            422,
            f"bars must be oldest first, each timestamp once: row {row} {'repeats' if same else 'is before'} the row before.",
        )
    names = [name for name in NUMERIC if name in columns]
    matrix = _read_numbers(names, columns)
    numbers = dict(zip(names, matrix, strict=True))
    _refuse_senseless(matrix, numbers)
    if "volume" not in numbers:
        numbers["volume"] = np.full(rows, np.nan)
    return BarColumns(stamps, numbers)


def _count(columns: dict[str, Any], most_bars: int) -> int:
    """How many bars there are."""
    for name, values in columns.items():
        if not isinstance(values, list):
            raise Refused(422, f"column {name} must be a list.")
    rows = len(columns["timestamp"])
    if not 1 <= rows <= most_bars:
        raise Refused(422, f"bars has {rows} rows; 1 to {most_bars} are taken.")
    for name, values in columns.items():
        if len(values) != rows:
            raise Refused(422, f"column {name} has {len(values)} values, timestamp {rows}.")
    return rows


def _refuse_senseless(matrix: NDArray[np.float64], numbers: dict[str, NDArray[np.float64]]) -> None:
    """Prices that are none, amounts below zero.

    Args:
        matrix: the columns as rows, prices first.
    """
    prices, amounts = matrix[:4], matrix[4:]
    # One look at all of it; which value is wrong is asked when one is.
    if not (prices.min() > 0 and prices.max() < np.inf and not (numbers["high"] < numbers["low"]).any()):
        for name in PRICES:
            _refuse(~(numbers[name] > 0) | ~np.isfinite(numbers[name]), name, "must be a number above 0")
        _refuse(numbers["high"] < numbers["low"], "high", "must not be below low")
    if ((amounts < 0) | (amounts == np.inf)).any():
        for name in [name for name in numbers if name not in PRICES]:
            _refuse((numbers[name] < 0) | np.isinf(numbers[name]), name, "must be null or a number of at least 0")


def _read_numbers(names: list[str], columns: dict[str, list[Any]]) -> NDArray[np.float64]:
    """The columns as rows of a matrix."""
    for name in names:
        if not {float, int, type(None)}.issuperset(map(type, columns[name])):
            raise Refused(422, f"column {name} must hold numbers.")
    try:
        return np.array([columns[name] for name in names], dtype=np.float64)
    except OverflowError:
        raise Refused(422, "a column holds a number that is too large.") from None


def _refuse(wrong: NDArray[np.bool_], name: str, rule: str) -> None:
    if wrong.any():
        raise Refused(422, f"column {name} {rule}; row {int(wrong.argmax())} (from 0) isn't.")


def _read_stamps(values: list[Any]) -> NDArray[np.datetime64]:
    if set(map(type, values)) != {str}:
        raise Refused(422, "column timestamp must hold ISO 8601 strings, such as 2024-01-31T17:00:00Z.")
    text = "\n".join(values) + "\n"
    try:
        # A value with a line break of its own would be read as two.
        if _PLAIN.fullmatch(text) and text.count("\n") == len(values):
            # numpy reads a hundred at once, but warns of zones: UTC, the only one there is, goes without saying.
            return np.array(
                text.replace("Z\n", "\n").replace("+00:00\n", "\n").split("\n")[:-1], dtype="datetime64[ns]"
            )
        times = [_read_stamp(value) for value in values]
    except ValueError as error:
        raise Refused(
            422, f"column timestamp: {str(error)[:120]}. ISO 8601 was expected, such as 2024-01-31T17:00:00Z."
        ) from None
    return np.array(times, dtype="datetime64[us]").astype("datetime64[ns]")


def _read_stamp(value: str) -> dt.datetime:
    time = dt.datetime.fromisoformat(value)
    time = time if time.tzinfo else time.replace(tzinfo=dt.UTC)
    if not _FIRST <= time < _LAST:
        raise ValueError(f"{value} isn't between 1900 and 2200")
    return time.astimezone(dt.UTC).replace(tzinfo=None)


def _quote(key: str) -> str:
    return repr(key[:40])
