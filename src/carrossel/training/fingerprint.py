"""What a checkpoint belongs to: it may be resumed only by the same recipe, data and code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import carrossel

if TYPE_CHECKING:
    from carrossel.training.config import Recipe

_ROOMS = ("targets", "windows", "cells", "forecaster", "diagnostics", "training")


def fingerprint(recipe: Recipe, data_sha256: str) -> str:
    """Hex digest of recipe, data and the source of every room that training runs through."""
    digest = hashlib.sha256(json.dumps([recipe.as_dict(), data_sha256], sort_keys=True).encode())
    package = Path(carrossel.__file__).parent
    for room in _ROOMS:
        for file in sorted((package / room).rglob("*.py")):
            digest.update(file.relative_to(package).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()
