"""Where fits run: in this process, or side by side in a walk-forward's workers."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from carrossel.online.policy.fits import Job, refit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from distributed import Client, Future
    from distributed.client import as_completed

    from carrossel.walk_forward.config import WalkForward
    from carrossel.walk_forward.folds import Fold


class Workers(Protocol):
    """Takes fits, gives them back finished, in any order."""

    def submit(self, fold: Fold, *, urgent: bool = False) -> None:
        """Ask for a fit; urgent ones go first."""

    def finished(self) -> Iterator[tuple[Fold, pd.DataFrame]]:
        """Every fit asked for, as it is done; more may be asked for meanwhile."""


class ThisProcess:
    """One fit after the other, here."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._waiting: deque[Fold] = deque()

    def submit(self, fold: Fold, *, urgent: bool = False) -> None:
        """See `Workers`."""
        (self._waiting.appendleft if urgent else self._waiting.append)(fold)

    def finished(self) -> Iterator[tuple[Fold, pd.DataFrame]]:
        """See `Workers`."""
        while self._waiting:
            fold = self._waiting.popleft()
            yield fold, refit(self._job, fold)


class Cluster:
    """Side by side on a Dask cluster."""

    def __init__(self, job: Job, client: Client) -> None:
        import distributed

        self._client = client
        # As a task of its own, not scattered: scattered data dies with its worker, a task's result is made again.
        self._job = client.submit(_hold, job, pure=False)
        self._folds: dict[Future[pd.DataFrame], Fold] = {}
        self._done: as_completed = distributed.as_completed()

    def submit(self, fold: Fold, *, urgent: bool = False) -> None:
        """See `Workers`."""
        future = self._client.submit(refit, self._job, fold, pure=False, priority=int(urgent))
        self._folds[future] = fold
        self._done.add(future)

    def finished(self) -> Iterator[tuple[Fold, pd.DataFrame]]:
        """See `Workers`."""
        from carrossel.workers import result_of

        for future in self._done:
            fold = self._folds.pop(future)
            part = result_of(future, f"the fit at bar {fold.split.test[0]}", "walk_forward")
            future.release()
            yield fold, part


@contextmanager
def open_workers(job: Job, config: WalkForward, scratch: Path) -> Iterator[Workers]:
    """Workers of the cluster that section `walk_forward` describes, until the end of the block.

    Raises:
        ConfigError: if its scheduler doesn't answer.
    """
    from carrossel.workers import open_client  # a second, which few fits in this process don't pay

    with open_client(config.scheduler, config.workers, scratch, "walk_forward") as client:
        yield Cluster(job, client)


def _hold(job: Job) -> Job:
    return job
