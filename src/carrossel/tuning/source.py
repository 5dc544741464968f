"""Which code a trial ran through: an edit to it makes another study, an edit elsewhere none."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import carrossel
from carrossel import cells

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a trial runs through; of the cells its own file and what all of them share.
_ROOMS = ("targets", "windows", "forecaster", "diagnostics", "training")
_FILES = ("tuning/data.py", "tuning/rows.py", "tuning/space.py", "tuning/trial.py")


@cache
def digest_trial(cell: str) -> str:
    """Hex digest of the source of a cell's trials, as it was when first asked: an edit belongs to the next process."""
    package = Path(carrossel.__file__).parent
    files = [file for room in _ROOMS for file in (package / room).rglob("*.py")]
    files += [package / name for name in _FILES]
    files += list(_of_cell(package / "cells", cell))
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.relative_to(package).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _of_cell(room: Path, cell: str) -> Iterator[Path]:
    others = set(cells.registry.kinds()) - {cell}
    return (file for file in room.rglob("*.py") if file.parent != room or file.stem not in others)
