"""Read the columns that matter out of a CSV or Parquet file into Arrow."""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from carrossel.bars.parsing.columns import Choice, choose, is_header
from carrossel.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BANNER_LINES = 50
_HEAD_BYTES = 65_536
_BLOCK = 4 << 20
_DELIMITERS = (",", ";", "\t", "|")
_NO_VALUE = ["", "NaN", "nan", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "None", "-", "--"]
_GZIP_MAGIC = b"\x1f\x8b"
_TAIL_BYTES = 4096
_PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True)
class Table:
    """A file's columns.

    Attributes:
        columns: an Arrow column per meaning.
        choice: which of the file's columns each is.
        unreadable: rows with another number of cells than the header has.
        examples: the first few of them.
        banner: lines before the header.
    """

    columns: dict[str, Any]
    choice: Choice
    unreadable: int = 0
    examples: tuple[str, ...] = ()
    banner: tuple[str, ...] = ()


def read_table(path: Path, named: Mapping[str, str]) -> Table:
    """Read a CSV (also .gz, .bz2 or .zst) or Parquet file; Parquet is told by its first bytes.

    Args:
        named: the user's choice of columns by meaning.

    Raises:
        SourceError: if the file is missing, empty, truncated, or its header isn't understood.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise SourceError(
            f"{path} can't be read: {error.strerror}. Put the file there or mend the source's path."
        ) from None
    if not magic:
        raise SourceError(f"{path} is empty. Get the file again.")
    if magic.startswith(b"PK\x03\x04"):
        raise SourceError(f"{path} is a zip archive. Unzip it and name the CSV inside as the source's path.")
    try:
        if magic == _PARQUET_MAGIC:
            return _read_parquet(path, named)
        return _read_csv(path, named)
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from None
    except (pa.ArrowException, EOFError, OSError) as error:
        raise SourceError(f"{path} can't be read; it may be truncated. Get the file again. ({error})") from None


def _read_parquet(path: Path, named: Mapping[str, str]) -> Table:
    schema = pq.read_schema(path)
    choice = choose(schema.names, named)
    table = pq.read_table(path, columns=sorted(set(choice.named.values())))
    return Table({meaning: table[name] for meaning, name in choice.named.items()}, choice)


def _read_csv(path: Path, named: Mapping[str, str]) -> Table:
    with pa.input_stream(str(path)) as stream:
        head = stream.read(_HEAD_BYTES)
    text, encoding = _decode(head)
    lines = [line.rstrip("\r") for line in text.split("\n")]
    number, delimiter, names = _find_header(lines, named)
    if not any(line.strip() for line in lines[number + 1 :]):
        raise SourceError("no row below the header. Get the file again.")
    _refuse_cut_end(path, delimiter, len(names), encoding)
    choice = choose(names, named)
    bad: list[str] = []
    count = 0

    def skip(row: Any) -> str:
        nonlocal count
        count += 1
        if len(bad) < 3:  # noqa: PLR2004 -- a few examples
            bad.append(str(row.text)[:200])
        return "skip"

    wanted = sorted(set(choice.named.values()))
    reading = pacsv.ReadOptions(
        skip_rows=number + 1, column_names=_distinct(names), encoding=encoding, block_size=_BLOCK
    )
    parsing = pacsv.ParseOptions(delimiter=delimiter, invalid_row_handler=skip)
    types = _likely_types(head, reading, parsing, wanted)
    try:
        table = _parse(path, reading, parsing, wanted, types)
    except pa.ArrowInvalid:
        # The first rows misled: let every cell have its say, for twice the memory.
        bad.clear()
        count = 0
        table = _parse(path, reading, parsing, wanted, {})
    if table.num_rows == 0:
        raise SourceError(
            f"no row has as many cells as the header; the first is {lines[number + 1][:100]!r}. Mend the file."
        )
    columns = {meaning: table[name] for meaning, name in choice.named.items()}
    return Table(
        columns, choice, count, tuple(sorted(bad)), tuple(line[:200] for line in lines[:number] if line.strip())
    )


def _refuse_cut_end(path: Path, delimiter: str, cells: int, encoding: str) -> None:
    """Refuse a file that ends in the middle of a row, as one does whose download broke off."""
    with path.open("rb") as stream:
        if stream.read(2) == _GZIP_MAGIC:  # a cut archive fails by itself
            return
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = stream.read().decode(encoding, errors="replace")
    last = tail.rsplit("\n", 1)[-1]
    if last.strip() and last.count(delimiter) + 1 < cells:
        raise SourceError(
            f"the last line {last[:100]!r} has {last.count(delimiter) + 1} of {cells} cells: the file was cut off. Get it again."
        )


def _likely_types(head: bytes, reading: Any, parsing: Any, wanted: list[str]) -> dict[str, Any]:
    """Types of the first rows: with types known beforehand Arrow needn't keep the text, which would be the peak of memory."""
    whole_lines = head[: head.rfind(b"\n") + 1]
    try:
        first = pacsv.read_csv(
            io.BytesIO(whole_lines),
            reading,
            pacsv.ParseOptions(delimiter=parsing.delimiter, invalid_row_handler=lambda _: "skip"),
            _conversion(wanted, {}),
        )
    except pa.ArrowInvalid:
        return {}
    return {
        field.name: pa.float64() if field.type == pa.int64() and not _whole(first[field.name]) else field.type
        for field in first.schema
        if not pa.types.is_null(field.type)
    }


def _whole(column: Any) -> bool:
    """Whether integers are so large that they are times, which float64 might round."""
    return bool(pc.greater(pc.max(column), 100_000_000).as_py())


def _parse(path: Path, reading: Any, parsing: Any, wanted: list[str], types: dict[str, Any]) -> Any:
    with pa.input_stream(str(path)) as stream:
        return pacsv.read_csv(stream, reading, parsing, _conversion(wanted, types))


def _conversion(wanted: list[str], types: dict[str, Any]) -> Any:
    return pacsv.ConvertOptions(
        include_columns=wanted,
        column_types=types,
        null_values=_NO_VALUE,
        strings_can_be_null=True,
        true_values=[],
        false_values=[],
        # Other times stay text: one module alone knows how to read them.
        timestamp_parsers=["%Y-%m-%d %H:%M:%S", "%Y-%m-%d"],
    )


def _decode(head: bytes) -> tuple[str, str]:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", errors="ignore"), "utf-16"
    if b"\0" in head:
        raise SourceError("this is neither text nor Parquet.")
    try:
        # Incremental, since a character may be cut at the end of what was read.
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head), "utf-8"
    except UnicodeDecodeError:
        return head.decode("latin-1"), "latin-1"


def _find_header(lines: list[str], named: Mapping[str, str]) -> tuple[int, str, list[str]]:
    for number, line in enumerate(lines[:_BANNER_LINES]):
        for delimiter in _DELIMITERS:
            cells = [cell.strip() for cell in next(csv.reader(io.StringIO(line), delimiter=delimiter), [])]
            if is_header(cells, named):
                return number, delimiter, cells
    first = next((line for line in lines if line.strip()), "")
    raise SourceError(
        f"no header with a time and a price in the first {min(len(lines), _BANNER_LINES)} lines; the first is {first[:100]!r}. "
        "Expected names such as Timestamp,Open,High,Low,Close,Volume; name others in the source's columns."
    )


def _distinct(names: list[str]) -> list[str]:
    seen: set[str] = set()
    result = []
    for i, name in enumerate(names):
        result.append(name if name not in seen else f"{name} (column {i + 1})")
        seen.add(name)
    return result
