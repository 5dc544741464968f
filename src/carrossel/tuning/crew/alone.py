"""Trials one after another in the driver's own process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from carrossel.tuning.trial import run_trial

if TYPE_CHECKING:
    from carrossel.tuning.crew.base import Desk
    from carrossel.tuning.data import Held


class Alone:
    """One trial at a time, no process besides this one."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def run(self, desk: Desk) -> None:
        """See `Crew`."""
        while job := desk.next_job():
            desk.end(job, run_trial(self._held, job, partial(desk.report, job)))
