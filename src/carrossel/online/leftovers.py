"""What killed processes left behind and nobody will come back for."""

from __future__ import annotations

import re
import shutil
from itertools import chain
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

_AGE = pd.Timedelta(days=7)
_TEMPORARY = re.compile(r"\.(?P<name>.+?)(?P<old>\.old)?\.[a-z0-9_]{8}")  # as `files.replacing_folder` names them
_WRITTEN_TO = ("data/raw", "models/*", ".carrossel/retrain/*")


def remove_leftovers(root: Path, now: pd.Timestamp) -> list[Path]:
    """Remove checkpoints and half-filled folders that nothing has touched for a week.

    A model, raw bars, an archive or a champion's copy is never among them.

    Args:
        root: of the project.
        now: the present, UTC.

    Returns:
        What was removed.
    """
    checkpoints = (root / ".carrossel" / "checkpoints").glob("*")
    temporary = (folder for place in _WRITTEN_TO for folder in root.glob(f"{place}/.*") if _is_temporary(folder))
    removed = []
    for folder in chain(checkpoints, temporary):
        if folder.is_symlink() or not folder.is_dir() or not _is_old(folder, now):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        removed.append(folder)
    return removed


def _is_temporary(folder: Path) -> bool:
    found = _TEMPORARY.fullmatch(folder.name)
    # Killed between its two renames, a writer leaves the only copy there is under the old one's name.
    return found is not None and (found["old"] is None or (folder.parent / found["name"]).exists())


def _is_old(folder: Path, now: pd.Timestamp) -> bool:
    try:
        newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:  # somebody is at work in it
        return False
    return bool(pd.Timestamp(newest, unit="s", tz="UTC") < now - _AGE)
