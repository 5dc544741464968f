"""Trials on Dask workers, which stay warm from one to the next.

A worker tells each point over the scheduler and waits shortly for the driver's word, so that a hopeless trial stops at the very
rung that showed it. If no word comes, such as from a driver that was killed, it goes on: what matters comes with the outcome.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from distributed import KilledWorker, get_worker

from carrossel.errors import StudyError, TrainingError
from carrossel.tuning.data import source_digest
from carrossel.tuning.trial import Outcome, Point, run_trial
from carrossel.workers import result_of

if TYPE_CHECKING:
    from distributed import Client, Future

    from carrossel.tuning.crew.base import Desk
    from carrossel.tuning.data import Held
    from carrossel.tuning.trial import Job

_WORD_S = 2.0
_LOOK_S, _DESERTED_S = 5.0, 60.0
_TOO_BIG = "every worker that tried it died, at last with no other trial beside it: probably too big for the memory"


class Cluster:
    """Every worker of a Dask cluster, one trial a thread, and one more trial handed out than there are threads.

    The one ahead waits on the scheduler, so that no worker idles while the driver writes down how its last trial ended.

    Args:
        section: of params.yaml, for messages.
    """

    def __init__(self, client: Client, held: Held, section: str) -> None:
        self._client, self._section = client, section
        self._topic = f"carrossel-{uuid.uuid4().hex}"
        self._inbox: SimpleQueue[Future[Outcome] | dict[str, Any]] = SimpleQueue()
        client.subscribe_topic(self._topic, lambda event: self._inbox.put(event[1]))
        # As a task of its own, not scattered: scattered data dies with its worker, a task's result is made again.
        self._held = client.submit(_hold, held, pure=False)

    def run(self, desk: Desk) -> None:
        """See `Crew`.

        A trial that Dask gave up, as too many workers died with it, is handed to Dask once more when none of this driver's is
        beside it: Dask blames a dead worker's every task, the one that waited behind the killer too, and two that together are
        too big for the memory may fit one after the other.
        """
        running: dict[Future[Outcome], Job] = {}
        suspects: deque[Job] = deque()
        alone: Job | None = None
        while True:
            while alone is None and len(running) <= self._threads() and (job := desk.next_job()):
                running[self._submit(job)] = job
            if not running:
                if not suspects:
                    return
                alone = suspects.popleft()
                running[self._submit(alone)] = alone
            item = self._next()
            if isinstance(item, dict):
                self._answer(desk, {job.name: job for job in running.values()}, item)
            elif item in running:
                job = running.pop(item)
                suspect = item.status == "error" and isinstance(item.exception(), KilledWorker)
                if suspect and job is not alone:
                    suspects.append(job)
                else:
                    desk.end(job, Outcome("failed", reason=_TOO_BIG) if suspect else self._outcome(item, job))
                    alone = None
                item.release()

    def _next(self) -> Future[Outcome] | dict[str, Any]:
        """What is told next, or which task ended.

        Raises:
            TrainingError: if there are no workers for a while; Dask itself would wait for some for ever.
        """
        deserted: float | None = None
        while True:
            with suppress(Empty):
                return self._inbox.get(timeout=_LOOK_S)
            with suppress(OSError):  # a scheduler that is gone ends every task
                deserted = None if self._client.nthreads() else deserted or time.monotonic()
            if deserted and time.monotonic() - deserted > _DESERTED_S:
                raise TrainingError(
                    f"{self._section}: no worker is left, for {_DESERTED_S:g} s now. Start some and run again; finished trials "
                    "are kept."
                )

    def _submit(self, job: Job) -> Future[Outcome]:
        future = self._client.submit(_run, self._held, job, self._topic, pure=False)
        future.add_done_callback(self._inbox.put)
        return future

    def _threads(self) -> int:
        return max(int(sum(self._client.nthreads().values())), 1)

    def _answer(self, desk: Desk, jobs: dict[str, Job], said: dict[str, Any]) -> None:
        job = jobs.get(said["name"])
        stop = job is not None and desk.report(job, Point(*said["point"]))
        if "id" in said:
            self._client.run(_hear, said["id"], stop, workers=[said["worker"]], wait=False, on_error="ignore")

    def _outcome(self, future: Future[Outcome], job: Job) -> Outcome:
        try:
            return result_of(future, job.name, self._section)
        except TrainingError as error:
            if future.status != "error":  # the scheduler is gone, and with it every other trial
                raise
            return Outcome("failed", reason=str(error).removeprefix(f"{job.name}: "))
        except StudyError:  # other code: no trial of this worker would be right
            raise
        except Exception as error:  # noqa: BLE001 - such as a job that this worker's code can't read: its own end
            return Outcome("failed", reason=f"{type(error).__name__}: {error}"[:1000])


_words: dict[str, tuple[threading.Event, list[bool]]] = {}
"""On a worker: who waits for the driver's word, by the id of what was told."""


def _hold(held: Held) -> Held:
    return held


def _run(held: Held, job: Job, topic: str) -> Outcome:
    if source_digest() != held.code:
        raise StudyError(
            "this worker runs other code than the driver. Install the driver's version on every worker, or, if the code was edited "
            "meanwhile, run again; finished trials are kept."
        )
    worker = get_worker()

    def report(point: Point) -> bool:
        if not job.prunable:
            worker.log_event(topic, {"name": job.name, "point": list(point)})
            return False
        word, heard = threading.Event(), list[bool]()
        told = uuid.uuid4().hex
        _words[told] = (word, heard)
        worker.log_event(topic, {"name": job.name, "id": told, "worker": worker.address, "point": list(point)})
        word.wait(_WORD_S)
        del _words[told]
        return bool(heard and heard[0])

    return run_trial(held, job, report)


async def _hear(told: str, stop: bool) -> None:  # noqa: FBT001 - Dask hands arguments on by position, and waits for plain functions
    if told in _words:
        word, heard = _words[told]
        heard.append(stop)
        word.set()
