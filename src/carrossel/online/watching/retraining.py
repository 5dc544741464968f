"""`carrossel retrain --once` beside the loop: one at a time, as a process of its own."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from carrossel.online import children

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Retraining:
    """The child process, if there is one; what it prints goes to `.carrossel/retrain/<dataset>.log`.

    Args:
        command: what `python -m` runs, with its arguments; `--actor` with the reason is added.
    """

    def __init__(self, root: Path, dataset: str, command: Sequence[str] | None = None) -> None:
        self._root = root
        self._command = list(command or ("carrossel", "retrain", "--once", "--dataset", dataset))
        self._log = root / ".carrossel" / "retrain" / f"{dataset}.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether one was started whose end wasn't told yet."""
        return self._child is not None

    def start(self, reason: str) -> None:
        """Start it, unless one runs.

        Args:
            reason: why; the ledger keeps it.

        Raises:
            OSError: if no process can be started.
        """
        if self._child is not None:
            return
        self._log.parent.mkdir(parents=True, exist_ok=True)
        actor = f"carrossel watch: {reason}"
        module, *arguments = self._command
        with self._log.open("wb") as log:
            # Ctrl-C is for the loop, which passes it on.
            self._child = children.start(module, [*arguments, "--actor", actor], self._root, session=True, log=log)

    def poll(self, wait: float | None = 0.0) -> tuple[int, str] | None:
        """Exit status and last line of a child that has ended; told once.

        Args:
            wait: seconds; None for as long as it takes.
        """
        if self._child is None:
            return None
        try:
            status = self._child.wait(wait)
        except subprocess.TimeoutExpired:
            return None
        self._child = None
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return status, lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """End it if it runs; it is made to be killed at any moment."""
        if self._child is not None:
            children.stop(self._child)
            self._child = None
