"""Processes that a long-lived one starts: they die with it, however it dies, and end when it is asked to stop.

`python -m carrossel.online.children PARENT MODULE ARGUMENT …` is the child's side: `python -m MODULE ARGUMENT …` under a parent.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_GRACE_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def start(
    module: str, arguments: Sequence[str], root: Path, *, session: bool = False, log: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start `python -m module arguments` in the project's folder.

    Args:
        log: takes what it prints; where this process prints if not given.
        session: keep it out of the terminal's group: an interrupt typed there is then passed on by the parent alone.
    """
    command = [sys.executable, "-m", __name__, str(os.getpid()), module, *arguments]
    # DVC's stages run `python`: it has to be this one, also where nobody activated the environment, as under systemd and cron.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, "CARROSSEL_ROOT": str(root), "PYTHONUNBUFFERED": "1"}
    sys.stdout.flush()  # what was said before stands before what the child says
    return subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=None if log is None else subprocess.STDOUT,
        start_new_session=session,
    )


def stop(child: subprocess.Popen[bytes], grace: float = _GRACE_SECONDS) -> int:
    """Ask a process to end, and end it if it hasn't after `grace` seconds.

    Returns:
        Its exit status.
    """
    child.terminate()
    try:
        return child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def run(module: str, arguments: Sequence[str], root: Path) -> int:
    """The same as `start`, to its end; if this process is asked to stop meanwhile, the child ends first.

    Returns:
        Its exit status.
    """
    child = start(module, arguments, root)
    try:
        return child.wait()
    finally:
        if child.poll() is None:
            stop(child)


def _die_with(parent: int) -> None:
    """Have the system kill this process when the thread that started it ends, on Linux."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _die_with(int(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
