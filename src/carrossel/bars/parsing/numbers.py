"""Numbers as people and exchanges write them, a column at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Decimal = Literal[".", ","]

_GROUPED = {".": r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$", ",": r"^[+-]?\d{1,3}(\.\d{3})+(,\d*)?$"}
_PLAIN = {".": r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$", ",": r"^[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?$"}
_SUFFIXES = {"K": 1e3, "M": 1e6, "B": 1e9}


@dataclass(frozen=True)
class Numbers:
    """A column of float64, NaN where the cell is empty or unreadable, and the unreadable cells."""

    values: np.ndarray
    unreadable: int = 0
    examples: tuple[str, ...] = ()


def to_float(column: Any, decimal: Decimal = ".") -> Numbers:
    """Turn an Arrow column into float64.

    Text may have thousands separators in groups of three (`"1,657,300"`), a currency sign in front, and K, M or B behind.
    `1234,5` with a decimal point isn't guessed at: it counts as unreadable.

    Args:
        column: numbers or text (a pyarrow ChunkedArray).
        decimal: the decimal mark; the other one separates thousands.
    """
    kind = column.type
    if pa.types.is_null(kind):
        return Numbers(np.full(len(column), np.nan))
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)):
        try:
            return Numbers(np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), np.float64))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            # Arrow casts no dates or nested values to numbers: as text they are told as unreadable cells, with examples.
            column = column.cast(pa.string())
    return _from_text(column.cast(pa.string()), decimal)


def _from_text(column: Any, decimal: Decimal) -> Numbers:
    text = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"^([+-]?)[$€£]", r"\1")
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    factors = np.ones(len(text))
    bare = pc.replace_substring_regex(text, r"[KMB]$", "")
    for suffix, factor in _SUFFIXES.items():
        factors[np.asarray(pc.fill_null(pc.ends_with(text, suffix), False).to_numpy(), bool)] = factor  # noqa: FBT003 -- the value
    group = "," if decimal == "." else "."
    grouped = pc.match_substring_regex(bare, _GROUPED[decimal])
    bare = pc.if_else(grouped, pc.replace_substring(bare, group, ""), bare)
    readable = pc.match_substring_regex(bare, _PLAIN[decimal])
    if decimal == ",":
        bare = pc.replace_substring(bare, ",", ".")
    clean = pc.if_else(readable, bare, pa.scalar(None, pa.string()))
    values = np.asarray(clean.cast(pa.float64()).to_numpy(), np.float64) * factors
    unreadable = text.filter(pc.and_(pc.is_valid(text), pc.invert(pc.fill_null(readable, False))))  # noqa: FBT003 -- the value
    return Numbers(values, len(unreadable), tuple(unreadable.slice(0, 3).to_pylist()))
