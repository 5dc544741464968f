"""One partition: the bars of a month, or of a day where bars are shorter than an hour, in a Parquet file of their own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from carrossel import files
from carrossel.bars.interval import nanoseconds
from carrossel.bars.sources.base import COLUMNS, frame_of
from carrossel.errors import BarsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

KNOWN = "known"
_HOUR = nanoseconds("1h")
_HELD = 3  # partitions in memory: one update reads the newest ones again and again
_TIME = pa.timestamp("ns", "UTC")
_SCHEMA = pa.schema([("timestamp", _TIME), *((name, pa.float64()) for name in COLUMNS[1:]), (KNOWN, _TIME)])
_ENCODINGS = dict.fromkeys(("timestamp", KNOWN), "DELTA_BINARY_PACKED")  # with prices plain: half the size and time


@dataclass(frozen=True)
class Rows:
    """Bars in time order; those with the same stamp in the order in which they were learned.

    Attributes:
        stamps: int64 [rows], nanoseconds since 1970.
        numbers: float64 [rows, 5]: open, high, low, close, volume.
        known: int64 [rows], when each was learned.
    """

    stamps: np.ndarray
    numbers: np.ndarray
    known: np.ndarray

    def newest(self) -> Rows:
        """The last revision of each bar."""
        last = np.append(self.stamps[1:] != self.stamps[:-1], True)[: len(self.stamps)]
        return self if last.all() else self.take(last)

    def take(self, rows: np.ndarray | slice) -> Rows:
        return Rows(self.stamps[rows], self.numbers[rows], self.known[rows])

    def frame(self) -> pd.DataFrame:
        """Columns of the contract, without `known`, as a copy."""
        columns = {name: self.numbers[:, place].copy() for place, name in enumerate(COLUMNS[1:])}
        return frame_of(self.stamps.view("datetime64[ns]").copy(), columns)


EMPTY = Rows(np.empty(0, np.int64), np.empty((0, len(COLUMNS) - 1)), np.empty(0, np.int64))


def rows_of(page: pd.DataFrame, known: int) -> Rows:
    """A page of a source, sorted; of rows with the same stamp the page's last."""
    stamps = page["timestamp"].dt.tz_convert("UTC").dt.as_unit("ns").dt.tz_localize(None).to_numpy().view(np.int64)
    order = np.argsort(stamps, kind="stable")
    values = np.column_stack([page[name].to_numpy(np.float64) for name in COLUMNS[1:]])
    return Rows(stamps[order], values[order], np.full(len(stamps), known, np.int64)).newest()


def merge(stored: Rows, page: Rows) -> tuple[Rows, Rows, int]:
    """Append the rows of a page that say something new: another bar, or other numbers for a bar that is there.

    A bar that goes back to numbers it had before its last revision is one more revision.

    Returns:
        All rows, those that were appended, and how many of these revise a bar.
    """
    if not len(stored.stamps):
        return page, page, 0
    at = np.searchsorted(stored.stamps, page.stamps, side="right") - 1
    there = (at >= 0) & (stored.stamps[at] == page.stamps)
    old, new = stored.numbers[at], page.numbers
    same = there & ((old == new) | (np.isnan(old) & np.isnan(new))).all(axis=1)
    fresh = page.take(~same)
    merged = concatenate([stored, fresh])
    return merged.take(np.argsort(merged.stamps, kind="stable")), fresh, int((there & ~same).sum())


def concatenate(parts: Sequence[Rows]) -> Rows:
    """One after the other."""
    stamps, numbers, known = zip(*((rows.stamps, rows.numbers, rows.known) for rows in (EMPTY, *parts)), strict=True)
    return Rows(np.concatenate(stamps), np.concatenate(numbers), np.concatenate(known))


class Partitions:
    """The partitions in a folder, each replaced whole or not at all.

    Args:
        interval: length of the bars.
    """

    def __init__(self, folder: Path, interval: str) -> None:
        self.folder = folder
        self.memory = folder / "state.json"
        self._held: dict[str, tuple[tuple[int, int, int], Rows]] = {}
        self._unit = "D" if nanoseconds(interval) < _HOUR else "M"

    def names(self) -> list[str]:
        """Those there are, oldest first."""
        return sorted(
            name.removesuffix(".parquet") for name in self._listed() if name[0] != "." and name.endswith(".parquet")
        )

    def name_of(self, stamp: int) -> str:
        """The partition that a stamp belongs to, such as 2024-01 or 2024-01-31."""
        return str(np.datetime64(stamp, "ns").astype(f"datetime64[{self._unit}]"))

    def split(self, rows: Rows) -> Iterator[tuple[str, Rows]]:
        """Rows by partition, oldest first."""
        periods = rows.stamps.view("datetime64[ns]").astype(f"datetime64[{self._unit}]")
        edges = [0, *(np.flatnonzero(periods[1:] != periods[:-1]) + 1), len(periods)]
        for first, last in pairwise(edges):
            if last > first:
                yield str(periods[first]), rows.take(slice(first, last))

    def last(self) -> int | None:
        """Stamp of the newest bar."""
        names = self.names()
        return int(self.read(names[-1]).stamps[-1]) if names else None

    def first(self) -> int | None:
        """Stamp of the oldest bar."""
        names = self.names()
        return int(self.read(names[0]).stamps[0]) if names else None

    def read(self, name: str) -> Rows:
        """All rows of a partition; none if it isn't there.

        Raises:
            BarsError: if the file is truncated or something else.
        """
        path = self._path(name)
        try:
            state = path.stat()
        except FileNotFoundError:
            return EMPTY
        version = (state.st_ino, state.st_mtime_ns, state.st_size)
        if name in self._held and self._held[name][0] == version:
            return self._held[name][1]
        rows = self._load(path)
        self._held = {**dict(list(self._held.items())[1 - _HELD :]), name: (version, rows)}
        return rows

    def _load(self, path: Path) -> Rows:
        try:
            with pq.ParquetFile(path) as file:
                table = file.read(use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, f"isn't a whole Parquet file: {error}") from None
        if table.schema.names != _SCHEMA.names or table.schema.types != _SCHEMA.types:
            raise _damaged(path, f"has columns {', '.join(table.schema.names)}; expected {', '.join(_SCHEMA.names)}")
        if not len(table):
            raise _damaged(path, "has no row")
        stamps, *numbers, known = (column.to_numpy() for column in table.itercolumns())
        return Rows(stamps.view(np.int64), np.column_stack(numbers), known.view(np.int64))

    def write(self, name: str, rows: Rows) -> None:
        """Replace a partition."""
        columns = (rows.stamps, *rows.numbers.T, rows.known)
        table = pa.table(
            [pa.array(column).cast(field.type) for column, field in zip(columns, _SCHEMA, strict=True)], _SCHEMA
        )
        with files.replacing(self._path(name)) as path:
            pq.write_table(table, path, compression="zstd", use_dictionary=False, column_encoding=_ENCODINGS)

    def remove_leftovers(self) -> None:
        """Remove temporary files of a writer that was killed. Only for who holds the archive's lock."""
        for name in self._listed():
            if name[0] == "." and name.endswith((".parquet", ".json")):
                (self.folder / name).unlink(missing_ok=True)

    def _listed(self) -> list[str]:
        try:
            return os.listdir(self.folder)  # noqa: PTH208 -- a Path for each of thousands of files is most of an update
        except FileNotFoundError:
            return []

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"


def _damaged(path: Path, what: str) -> BarsError:
    return BarsError(f"{path} {what}. Delete it and run again: its bars will be asked for once more.")


def nanoseconds_of(stamp: pd.Timestamp) -> int:
    """Since 1970, whatever the stamp's resolution."""
    return int(stamp.tz_convert("UTC").as_unit("ns").value)


def time_of(stamp: int) -> pd.Timestamp:
    """UTC, from nanoseconds since 1970."""
    return pd.Timestamp(stamp, unit="ns", tz="UTC")
