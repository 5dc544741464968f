"""Times as files have them, as UTC nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
import pyarrow as pa

from carrossel.errors import SourceError

_UNITS = {"seconds": 1_000_000_000, "milliseconds": 1_000_000, "microseconds": 1_000, "nanoseconds": 1}
# Each unit's numbers from 1973 to 5138: the ranges don't overlap, so mixed files (Binance changed in 2025) are read right.
_SMALLEST = {"seconds": 1e8, "milliseconds": 1e11, "microseconds": 1e14, "nanoseconds": 1e17}
_COMPACT_DATES = (19_000_101, 22_001_231)
_FORMATS = (
    "ISO8601",
    *("%Y-%m-%d %I-%p", "%Y/%m/%d", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y.%m.%d", "%Y.%m.%d %H:%M"),
    *("%Y.%m.%d %H:%M:%S", "%Y%m%d %H:%M", "%Y%m%d %H:%M:%S", "%Y%m%d %H%M%S"),
    *("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S"),
    *("%m-%d-%Y", "%d-%m-%Y", "%m-%d-%Y %H:%M", "%d-%m-%Y %H:%M", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S"),
    *("%m/%d/%y", "%d/%m/%y", "%b %d, %Y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%B %d, %Y", "%m/%d/%Y %I:%M %p"),
)
_SAMPLE = 1000
_UNREADABLE_SHARE = 0.01


@dataclass(frozen=True)
class Stamps:
    """Times in UTC and how they were read.

    Attributes:
        values: datetime64[ns], NaT where a cell is unreadable.
        reading: such as `seconds since 1970` or `text as %m/%d/%Y`.
    """

    values: np.ndarray
    reading: str


def to_utc(column: Any, *, text_format: str | None = None, timezone: str = "UTC") -> Stamps:
    """Turn an Arrow column of numbers, dates or text into UTC.

    Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by size, or dates like 20170131.

    Args:
        text_format: strptime format; none tries the usual ones.
        timezone: of times that don't say it themselves. The hour that happens twice at the end of summer time, and the
            one that doesn't happen, are unreadable.

    Raises:
        SourceError: if nothing can be read, if day and month can't be told apart, or if the timezone doesn't exist.
    """
    _zone(timezone)
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        stamps = _from_numbers(column)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        stamps = _from_arrow_times(column, timezone)
    else:
        stamps = _from_text(column.cast(pa.string()), text_format, timezone)
    if bool(np.isnat(stamps.values).all()):
        shown = ", ".join(repr(value) for value in column.slice(0, 3).to_pylist())
        raise SourceError(
            f"no readable time in {shown}: expected seconds, ms or µs since 1970, or dates such as 2019-10-17 09:00. "
            "Set the source's timestamp_format, such as '%d.%m.%Y %H:%M'."
        )
    return stamps


def _from_numbers(column: Any) -> Stamps:
    numbers = np.asarray(column.to_numpy())
    if numbers.dtype.kind not in "iu":
        numbers = numbers.astype(np.float64)
    finite = np.isfinite(numbers)
    if not finite.any():
        return Stamps(np.full(len(numbers), np.datetime64("NaT"), "datetime64[ns]"), "nothing")
    least, most = numbers[finite].min(), numbers[finite].max()
    if _COMPACT_DATES[0] <= least and most <= _COMPACT_DATES[1]:
        text = pa.chunked_array([pa.array(np.where(finite, numbers, 0).astype(np.int64)).cast(pa.string())])
        return _from_text(text, "%Y%m%d", "UTC")
    units = [name for name in _UNITS if most >= _SMALLEST[name] and least < _SMALLEST[name] * 1000]
    nanoseconds = np.full(len(numbers), np.iinfo(np.int64).min)
    used = []
    for unit in units:
        inside = (numbers >= _SMALLEST[unit]) & (numbers < _SMALLEST[unit] * 1000)
        if inside.all():
            return Stamps(_scale(numbers, unit).view("datetime64[ns]"), f"{unit} since 1970")
        if inside.any():
            nanoseconds[inside] = _scale(numbers[inside], unit)
            used.append(unit)
    return Stamps(nanoseconds.view("datetime64[ns]"), f"{' and '.join(used) or 'nothing'} since 1970")


def _scale(numbers: np.ndarray, unit: str) -> np.ndarray:
    factor = _UNITS[unit]
    representable = np.abs(numbers) <= np.iinfo(np.int64).max // factor
    if numbers.dtype.kind in "iu":
        scaled = numbers.astype(np.int64) * factor
    else:
        # Through whole microseconds: seconds times 1e9 in float64 would invent nanoseconds.
        finer = max(factor // 1000, 1)
        scaled = np.rint(np.where(representable, numbers, 0) * finer).astype(np.int64) * (factor // finer)
    return scaled if representable.all() else np.where(representable, scaled, np.iinfo(np.int64).min)


def _from_arrow_times(column: Any, timezone: str) -> Stamps:
    zone = getattr(column.type, "tz", None)
    values = column.cast(pa.timestamp("ns", zone), safe=False).cast(pa.int64())
    stamps = np.asarray(values.fill_null(np.iinfo(np.int64).min).to_numpy()).view("datetime64[ns]")
    if zone is None:
        stamps = _localise(pd.DatetimeIndex(stamps), timezone)
    return Stamps(stamps, "dates" + ("" if zone or timezone == "UTC" else f" in {timezone}"))


def _from_text(column: Any, text_format: str | None, timezone: str) -> Stamps:
    text = pd.Series(column.to_numpy(), dtype=object).str.strip()
    chosen = text_format or _choose_format(text)
    try:
        times = _parse(text, chosen)
    except ValueError as error:
        raise SourceError(f"timestamp_format = {text_format!r}: {error}") from None
    return Stamps(_localise(times, timezone), f"text as {chosen}" + ("" if timezone == "UTC" else f" in {timezone}"))


def _choose_format(text: pd.Series) -> str:
    known = text.dropna()
    sample = known.iloc[np.unique(np.linspace(0, len(known) - 1, _SAMPLE).astype(int))] if len(known) else known
    scores = {form: _readable(_parse(sample, form)) for form in _FORMATS} if len(sample) else {}
    good = [form for form, score in scores.items() if score >= len(sample) * (1 - _UNREADABLE_SHARE) and score]
    if not good:
        return max(scores, key=lambda form: scores[form], default="ISO8601")
    if len(good) == 1 or good[0] == "ISO8601":
        return good[0]
    full = {form: _readable(_parse(known, form)) for form in good}
    best = [form for form in good if full[form] == max(full.values())]
    if len({tuple(_parse(sample, form)) for form in best}) > 1:
        raise SourceError(
            f"times such as {sample.iloc[0]!r} can be read as {' or '.join(best)}. "
            "Set the source's timestamp_format to one of them."
        )
    return best[0]


def _readable(times: pd.DatetimeIndex) -> int:
    return int((~np.isnat(times.to_numpy())).sum()) if times.tz is None else _readable(times.tz_localize(None))


def _parse(text: pd.Series, form: str) -> pd.DatetimeIndex:
    zoned = form == "ISO8601" or "%z" in form
    times = pd.DatetimeIndex(pd.to_datetime(text, format=form, errors="coerce", utc=zoned))
    if zoned and not _says_zone(text):
        times = times.tz_localize(None)
    return _within_reach(times)


def _within_reach(times: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """In nanoseconds; times before 1677 or after 2262 don't fit and become NaT."""
    try:
        return times.as_unit("ns")
    except pd.errors.OutOfBoundsDatetime:
        fits = (times.year > 1677) & (times.year < 2262)  # noqa: PLR2004 -- the years that int64 nanoseconds reach
        return pd.DatetimeIndex(times.where(fits)).as_unit("ns")


def _says_zone(text: pd.Series) -> bool:
    known = text.dropna()
    return bool(len(known)) and bool(
        known.head(_SAMPLE).str.contains(r"(?:[zZ]|\d[ ]?[+-]\d{2}:?\d{2}|:\d{2}[+-]\d{2})$").all()
    )


def _localise(times: pd.DatetimeIndex, timezone: str) -> np.ndarray:
    if times.tz is None and timezone != "UTC":
        times = times.tz_localize(_zone(timezone), ambiguous="NaT", nonexistent="NaT")
    utc = times.tz_convert("UTC").tz_localize(None) if times.tz is not None else times
    return np.asarray(utc.as_unit("ns").to_numpy())


def _zone(timezone: str) -> ZoneInfo:
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SourceError(
            f"timezone = {timezone!r} doesn't exist; expected a name such as UTC or America/New_York."
        ) from None
