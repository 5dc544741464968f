"""What every script in pipeline/ shares: one line per error, one process per stage, no orphans."""

from __future__ import annotations

import ctypes
import inspect
import os
import signal
import sys
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from carrossel.config import project_root
from carrossel.errors import CarrosselError

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run(work: Callable[..., None], *arguments: str, name: str) -> None:
    """Run a stage's work and end the process with its exit status.

    A killed `dvc repro` would leave its stage running as an orphan beside the next one: on Linux the stage dies with its
    parent, and elsewhere a lock per stage keeps a second one out.

    Args:
        work: the stage's function; gets `arguments`.
        name: the stage's name with its item, such as `train@bitcoin-lstm`.
    """
    wanted = len(inspect.signature(work).parameters)
    if len(arguments) != wanted:
        _fail(name, f"got {len(arguments)} arguments, expected {wanted}; DVC gives them: dvc repro {name}", status=2)
    _die_with_parent()
    lock = project_root() / ".carrossel" / "locks" / f"{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=5):
            work(*arguments)
    except Timeout:
        _fail(
            name,
            f"another process is at this work, the stage itself or a command that stands in for it (lock {lock}). "
            "Wait for it or end it, then run again.",
        )
    except CarrosselError as error:
        _fail(name, " ".join(str(error).split()))
    except OSError as error:
        if error.errno is None:
            raise
        _fail(
            name, f"{error.strerror}: {error.filename or 'no file named'}. Nothing was replaced; mend it and run again."
        )
    except KeyboardInterrupt:
        _fail(name, "interrupted; what was there before is untouched.", status=130)


def _fail(name: str, message: str, status: int = 1) -> None:
    print(f"{name}: {message}", file=sys.stderr, flush=True)
    sys.exit(status)


def _die_with_parent() -> None:
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the call
        os.kill(os.getpid(), signal.SIGKILL)
