"""Bars from a file of the user's own: CSV or Parquet, in any of the shapes that exchanges and Kaggle give them."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 -- pydantic reads annotations at run time
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from carrossel.bars.parsing.numbers import Decimal, to_float
from carrossel.bars.parsing.tables import Table, read_table
from carrossel.bars.parsing.timestamps import Stamps, to_utc
from carrossel.bars.sources.base import PRICES, RawBars, Source, SourceConfig, frame_of
from carrossel.errors import SourceError
from carrossel.files import sha256

Meaning = Literal["timestamp", "open", "high", "low", "close", "adjusted_close", "volume"]

WATCHED_FOLDER = "data/incoming"
_UNREADABLE_SHARE = 0.01


class Csv(Source, kind="csv"):
    """A CSV or Parquet file.

    Banner lines before the header, thousands separators, empty cells, newest rows first, times as numbers or text are all
    understood. A file with one price column gives bars whose open, high, low and close are that price.
    """

    class Config(SourceConfig):
        """Which file, and what can't be told from it."""

        kind: Literal["csv"]
        path: Path = Field(description="The file, from the project's folder; DVC watches data/incoming.")
        columns: dict[Meaning, str] = Field(
            default_factory=dict, description="Names of columns whose meaning isn't plain, such as close: Kurs."
        )
        timestamp_format: str | None = Field(
            None, min_length=2, description="strptime format of times in text; none tries the usual ones."
        )
        timezone: str = Field("UTC", description="Of times that don't say it themselves, such as America/New_York.")
        decimal: Decimal = Field(".", description="Decimal mark; the other one separates thousands.")
        adjusted: bool = Field(
            default=False,
            description="Take the adjusted close, scale open, high and low alike and divide the volume by the same factor.",
        )

    config: Config

    def fetch(self) -> RawBars:
        config = self.config
        path = self.root / config.path
        named = {str(meaning): column for meaning, column in config.columns.items()}
        table = read_table(path, named)
        choice = table.choice.named
        try:
            stamps = to_utc(_times(table), text_format=config.timestamp_format, timezone=config.timezone)
            table.columns.pop("timestamp")
            numbers, cells = self._numbers(table)
        except SourceError as error:
            raise SourceError(f"{config.path}: {error}") from None
        rows = len(stamps.values)
        lost = np.isnat(stamps.values)
        told = {
            "kind": "csv",
            "path": config.path.as_posix(),
            "sha256": sha256(path),
            "rows": rows,
            "columns": choice,
            "times": stamps.reading,
            "banner": list(table.banner),
            "unreadable_rows": {"count": table.unreadable, "first": list(table.examples)},
            "unreadable_times": {"count": int(lost.sum()), "first": np.flatnonzero(lost)[:5].tolist()},
            "unreadable_cells": cells,
        }
        _refuse_mostly_unreadable(config.path, rows, table, lost)
        values, columns = stamps.values, numbers
        if lost.any():
            values, columns = values[~lost], {name: column[~lost] for name, column in numbers.items()}
        return RawBars(frame_of(values, columns), told, tuple(self._notes(table, stamps, int(lost.sum()))))

    def _numbers(self, table: Table) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        columns: dict[str, np.ndarray] = {}
        unreadable: dict[str, Any] = {}
        for meaning in ("close", "open", "high", "low", "volume", "adjusted_close"):
            # Each Arrow column is let go as soon as it is read: two copies of everything would be the peak of memory.
            column = table.columns.pop(meaning, None)
            if column is None or (meaning == "adjusted_close" and not self.config.adjusted):
                continue
            numbers = to_float(column, self.config.decimal)
            if numbers.unreadable > max(1, _UNREADABLE_SHARE * len(column)):
                name = table.choice.named[meaning]
                raise SourceError(
                    f"column {name!r} has {numbers.unreadable} cells that aren't numbers, such as "
                    f"{', '.join(map(repr, numbers.examples))}. If the comma is the decimal mark, set the source's decimal: ','."
                )
            if numbers.unreadable:
                unreadable[meaning] = {"count": numbers.unreadable, "first": list(numbers.examples)}
            columns[meaning] = numbers.values
            del column
            pa.default_memory_pool().release_unused()
        close = columns["close"]
        for name in PRICES:
            columns.setdefault(name, close)
        columns.setdefault("volume", np.full(len(close), np.nan))
        if self.config.adjusted:
            columns = _adjust(columns)
        return columns, unreadable

    def _notes(self, table: Table, stamps: Stamps, lost: int) -> list[str]:
        watched = (self.root / WATCHED_FOLDER).resolve()
        notes = [
            f"times read as {stamps.reading}; columns: {', '.join(f'{k}={v}' for k, v in table.choice.named.items())}"
        ]
        if table.unreadable:
            notes.append(f"{table.unreadable} rows have another number of cells than the header and were left out")
        if lost:
            notes.append(f"{lost} rows without a readable time were left out")
        if not (self.root / self.config.path).resolve().is_relative_to(watched):
            notes.append(f"{self.config.path} lies outside of {WATCHED_FOLDER}: DVC can't see when it changes")
        return notes


def _times(table: Table) -> Any:
    times, of_day = table.columns["timestamp"], table.columns.pop("time_of_day", None)
    if of_day is None:
        return times
    return pc.binary_join_element_wise(times.cast(pa.string()), of_day.cast(pa.string()), " ")


def _adjust(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if "adjusted_close" not in columns:
        raise SourceError(
            "adjusted: true, but no column looks like an adjusted close. Name it in the source's columns."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = columns["adjusted_close"] / columns["close"]
        scaled = {name: columns[name] * factor for name in ("open", "high", "low")}
        volume = columns["volume"] / factor
    return {**scaled, "close": columns["adjusted_close"], "volume": volume}


def _refuse_mostly_unreadable(path: Path, rows: int, table: Table, lost: np.ndarray) -> None:
    if table.unreadable > max(1, _UNREADABLE_SHARE * rows):
        raise SourceError(
            f"{path}: {table.unreadable} of {rows + table.unreadable} rows have another number of cells than the header, such as "
            f"{table.examples[0]!r}. Mend the file."
        )
    if (count := int(lost.sum())) > max(1, _UNREADABLE_SHARE * rows):
        first = int(np.flatnonzero(lost)[0])
        raise SourceError(
            f"{path}: {count} of {rows} rows have no readable time, the first below the header is row {first + 1}. "
            "Set the source's timestamp_format or timezone."
        )
