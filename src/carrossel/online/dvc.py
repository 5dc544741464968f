"""DVC in a process of its own, past what one that was killed leaves behind.

DVC writes which paths it works on into `.dvc/tmp/rwlock`. `--wait-for-lock` doesn't wait for these, and an entry whose process
number was given to another process since keeps every later run out.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]  # comes with DVC, without types
import zc.lockfile  # type: ignore[import-untyped]  # the same

from carrossel.errors import Busy
from carrossel.files import write_text
from carrossel.online import children

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_WAITS = (5.0, 10.0, 20.0, 25.0)  # seconds
_SLACK = 2.0  # seconds that the start of a process, counted from the machine's, may be off


def run_dvc(arguments: Sequence[str], root: Path, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """One call of DVC, whose stages die with this process; a DVC command that runs elsewhere in the project is waited for a minute.

    Args:
        arguments: of `dvc`.
        root: the project's folder.
        sleep: waits some seconds.

    Returns:
        Its exit status.

    Raises:
        Busy: if the other command still runs then.
    """
    for wait in _WAITS:
        if not remove_stale(root):
            break
        sleep(wait)
    else:
        if holders := remove_stale(root):
            raise Busy(f"another DVC works in this project: {', '.join(holders)}. Wait for it or end it.")
    return children.run("dvc", ["--wait-for-lock", *arguments], root)


def remove_stale(root: Path) -> list[str]:
    """Take entries of processes that are no more out of DVC's `rwlock`.

    Returns:
        The others, such as 'dvc repro (process 7)'; none while DVC itself is writing the file.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.is_file():
        return []
    try:
        guard = zc.lockfile.LockFile(str(path.with_name("rwlock.lock")))  # DVC's own, for each look at the file
    except zc.lockfile.LockError:
        return []
    try:
        return _sift(path)
    finally:
        guard.close()


def _sift(path: Path) -> list[str]:
    written = path.stat()
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        writers = {name: info for name, info in held.get("write", {}).items() if _lives(info, written.st_mtime)}
        readers = {
            name: [info for info in infos if _lives(info, written.st_mtime)]
            for name, infos in held.get("read", {}).items()
        }
    except (ValueError, TypeError, AttributeError, KeyError):  # killed while it wrote: DVC would stop here for ever
        path.unlink()
        return []
    kept = {"write": writers, "read": {name: infos for name, infos in readers.items() if infos}}
    if kept != {"write": {}, "read": {}, **held}:
        write_text(path, json.dumps(kept))
        os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))  # by which the next look tells old from new
    infos = [*kept["write"].values(), *(info for infos in kept["read"].values() for info in infos)]
    return sorted({f"{info['cmd']} (process {info['pid']})" for info in infos})


def _lives(info: dict[str, Any], written: float) -> bool:
    """Whether an entry's process is still the one that made it, before the file was last written."""
    try:
        process = psutil.Process(int(info["pid"]))
        command = [process.name(), *process.cmdline()]
        return process.create_time() <= written + _SLACK and any("dvc" in word or "python" in word for word in command)
    except psutil.NoSuchProcess:  # a zombie is one of them
        return False
    except psutil.AccessDenied:
        return True
