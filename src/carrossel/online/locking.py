"""Work that only one process may do at a time: the second one hears who does it and since when."""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from carrossel.errors import Busy, CarrosselError
from carrossel.files import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd


@contextmanager
def alone(root: Path, name: str, *, now: pd.Timestamp) -> Iterator[None]:
    """Keep other processes out of the block, on this machine and wherever else the folder is mounted with locks.

    The system frees the lock when its process ends, however it ends.

    Args:
        root: of the project.
        name: of the work, for the lock's file and for people.

    Raises:
        Busy: at once, if another process is in its block.
        CarrosselError: if the lock's file can't be made, as on a full disk.
    """
    lock = root / ".carrossel" / "locks" / f"{name}.lock"
    note = lock.with_suffix(".json")  # beside it: opening the lock empties its file
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock).acquire(blocking=False)
    except Timeout:
        raise Busy(f"{_holder(note)} {name} already. Nothing was done; wait for it or end it.") from None
    except OSError as error:
        raise CarrosselError(
            f"{lock} can't be made: {error.strerror or error}. Nothing was done; mend that and run again."
        ) from None
    with held:
        _introduce(note, now)
        try:
            yield
        finally:
            note.unlink(missing_ok=True)


def _introduce(note: Path, now: pd.Timestamp) -> None:
    """Say who holds the lock, if the disk has room for it: the lock holds without, and work may be what makes room."""
    try:
        write_json(note, {"pid": os.getpid(), "host": socket.gethostname(), "since": now.isoformat(timespec="seconds")})
    except OSError:
        note.unlink(missing_ok=True)  # one left by a killed process would name it


def _holder(note: Path) -> str:
    try:
        seen = json.loads(note.read_text(encoding="utf-8"))
        return f"process {seen['pid']} on {seen['host']} runs, since {seen['since']}, a"
    except (OSError, ValueError, KeyError):  # it got the lock this very moment
        return "another process runs a"
