"""What a checkpoint belongs to: it may be resumed only by the same recipe, data and code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import carrossel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carrossel.training.config import Recipe

_ROOMS = ("targets", "windows", "cells", "forecaster", "diagnostics", "training")


def fingerprint(recipe: Recipe, data_sha256: str) -> str:
    """Hex digest of recipe, data and the source of every room that training runs through."""
    values = [recipe.as_dict(), data_sha256, digest_source(_ROOMS)]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def digest_source(rooms: Sequence[str]) -> str:
    """Hex digest of the source of rooms, by their folders' names."""
    digest = hashlib.sha256()
    package = Path(carrossel.__file__).parent
    for room in rooms:
        for file in sorted((package / room).rglob("*.py")):
            digest.update(file.relative_to(package).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()
