"""What the driver asks of those who run trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from carrossel.tuning.trial import Job, Outcome, Point


class Desk(Protocol):
    """The driver as those who run trials see it."""

    def next_job(self) -> Job | None:
        """The next trial; None if there is nothing to do until another trial has ended."""

    def report(self, job: Job, point: Point) -> bool:
        """Take an epoch's point; true if the trial is to stop. A step told twice counts once."""

    def end(self, job: Job, outcome: Outcome) -> None:
        """Take a trial's end."""


class Crew(Protocol):
    """Runs trials."""

    def run(self, desk: Desk) -> None:
        """Run what the desk has until it has nothing and every trial has ended.

        Raises:
            TrainingError: if no trial can be run any more; those that were running are not ended.
        """
