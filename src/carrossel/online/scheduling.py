"""`carrossel schedule`: a retraining whenever cron's expression says so, in UTC, and exactly one for all that were missed.

What is due next is kept in `.carrossel/schedule.db`, so that down-time is noticed. APScheduler would keep its jobs there as
pickles, and whoever can write a pickle runs code here; this store keeps words alone, and is its owner's alone.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.job import Job
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.util import datetime_to_utc_timestamp
from sqlalchemy.exc import SQLAlchemyError

from carrossel.errors import StoreError
from carrossel.files import write_text
from carrossel.online import children
from carrossel.online.cron import read_cron
from carrossel.online.database import explain
from carrossel.online.locking import alone
from carrossel.online.retraining import BUSY, DONE, INTERRUPTED, TERMINATED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from subprocess import Popen
    from types import FrameType

    import pandas as pd

    Tell = Callable[[str], None]
    Start = Callable[[Sequence[str]], Popen[bytes]]

JOB = "retrain"
LOCK = "schedule"
ACTOR = "carrossel schedule"
_LONGEST_WAIT = 30.0  # seconds: a clock that jumped, or a machine that slept, is noticed within
_RETRY = 60.0
_AGAIN = timedelta(minutes=10)  # after a retraining that failed, or that found another at work
_MOST_AGAIN = 3  # such tries in a row; then it's no hiccup, and cron's next time will do
_GRACE_SECONDS = 20.0
_ENDINGS = {
    DONE: "ended well",
    BUSY: "left it to another process",
    INTERRUPTED: "was interrupted",
    TERMINATED: "was stopped",
}


def run_schedule(
    cron: str,
    root: Path,
    *,
    clock: Callable[[], pd.Timestamp],
    dataset: str | None = None,
    tell: Tell = print,
    start: Start | None = None,
) -> None:
    """Retrain on schedule until SIGTERM or SIGINT; a retraining that runs then is stopped, and goes on at the next start.

    Args:
        cron: five fields, in UTC.
        root: the project's folder.
        clock: the present, UTC.
        dataset: what to retrain; every one in params.yaml if not given.
        tell: takes a line for people.
        start: starts `python -m carrossel` with arguments.

    Raises:
        Busy: if another process schedules in this project.
        ConfigError: if `cron` isn't an expression.
        StoreError: if the job store can't be used.
    """
    read_cron(cron, UTC)
    with alone(root, LOCK, now=clock()):
        schedule = Schedule(cron, root, dataset=dataset, tell=tell, start=start or _starter(root))
        with _stopped_by_signals(schedule):
            schedule.run()


class Schedule(BlockingScheduler):  # type: ignore[misc]  # APScheduler has no types
    """APScheduler's loop around one job: the next run is kept on disk, the retraining is a child process.

    Args:
        cron: five fields, in UTC.
        root: the project's folder.
        dataset: what to retrain; every one in params.yaml if not given.
        tell: takes a line for people.
        start: starts `python -m carrossel` with arguments.
    """

    def __init__(self, cron: str, root: Path, *, dataset: str | None, tell: Tell, start: Start) -> None:
        self._cron, self._dataset, self._tell, self._start = cron, dataset, tell, start
        self._trigger = read_cron(cron, UTC)
        self._note = root / ".carrossel" / "schedule.running"
        self._mutex = threading.Lock()
        self._child: Popen[bytes] | None = None
        self._stopping = False
        self._tries = 0
        # A pair of sockets wakes the loop: a signal's handler may write to one, where an event's lock could be held already.
        self._alarm, self._bell = socket.socketpair()
        self._bell.settimeout(0)
        self._alarm.settimeout(0)
        self._store = _Store(root / ".carrossel" / "schedule.db", self._retrain)
        super().__init__(
            timezone=UTC, jobstores={"default": self._store}, executors={"default": ThreadPoolExecutor(max_workers=1)}
        )

    def run(self) -> None:
        """Work until `stop`.

        Raises:
            StoreError: if the job store can't be used.
        """
        with self._alarm, self._bell, _told(self._tell):
            try:
                BaseScheduler.start(self, paused=True)
                self._adopt()
                self.resume()
                while not self._stopping:
                    wait = self._round()
                    if select.select([self._alarm], [], [], wait)[0]:
                        self._alarm.recv(4096)
            except SQLAlchemyError as error:
                raise StoreError(
                    f"{self._store.path} can't be used: {explain(error)}. Mend it, or remove it: then what was missed is forgotten."
                ) from None
            finally:
                self._end()

    def stop(self) -> None:
        """Have `run` end soon; may be called by a signal's handler and from any thread."""
        self._stopping = True
        self.wakeup()

    def wakeup(self) -> None:
        """Have the loop look at its job now."""
        try:
            self._bell.send(b"!")
        except OSError:  # full: it will wake; closed: it has ended
            return

    def _adopt(self) -> None:
        """Go on with the job there is: one that is added anew would forget what was missed."""
        now = datetime.now(UTC)
        options = {"trigger": self._trigger, "name": self._cron, "kwargs": {"dataset": self._dataset}}
        job = self._find()
        if job is None:
            self.add_job(self._retrain, id=JOB, coalesce=True, misfire_grace_time=None, max_instances=1, **options)
            self._tell(f"{self._cron} (UTC), for the first time; next at {_minute(self._find().next_run_time)}")
            return
        missed = job.next_run_time is not None and job.next_run_time <= now
        cut_off = self._note.exists()
        due = job.next_run_time if missed else now if cut_off else self._trigger.get_next_fire_time(None, now)
        if job.name == self._cron and job.next_run_time is not None:
            due = min(due, job.next_run_time)  # one more try after a failure comes before cron's next time
        if job.name != self._cron:
            self._tell(f"the schedule was {job.name} and is {self._cron} (UTC) now")
        job.modify(next_run_time=due, **options)
        if missed:
            self._tell(f"{self._cron} (UTC): missed since {_minute(due)}; one retraining catches up now")
        elif cut_off:
            self._tell(f"{self._cron} (UTC): the last retraining was cut off; it goes on now")
        else:
            self._tell(f"{self._cron} (UTC); next at {_minute(due)}")

    def _find(self) -> Any:
        """The job; None if there is none that can be read."""
        try:
            return self.get_job(JOB)
        except (ValueError, KeyError, TypeError):
            self._tell(f"{self._store.path} holds something else than a job of ours; it starts anew")
            self.remove_all_jobs()
            return None

    def _round(self) -> float:
        """Start what is due.

        Returns:
            Seconds to wait.
        """
        try:
            self._mind_the_clock()
            wait = self._process_jobs()
        except SQLAlchemyError as error:
            self._tell(f"{self._store.path} can't be used ({explain(error)}); trying again in {_RETRY:.0f} s")
            return _RETRY
        return _LONGEST_WAIT if wait is None else min(wait, _LONGEST_WAIT)

    def _mind_the_clock(self) -> None:
        """A clock that was ahead when the next run was set, and is right again, must not put it off for long."""
        job = self._find()
        if job is None:
            self._adopt()
            return
        soon = self._trigger.get_next_fire_time(None, datetime.now(UTC))
        later = self._trigger.get_next_fire_time(soon, soon)
        if job.next_run_time is not None and later is not None and job.next_run_time > later:
            self._tell(f"the clock went back: next at {_minute(soon)} instead of {_minute(job.next_run_time)}")
            job.modify(next_run_time=soon)

    def _retrain(self, dataset: str | None) -> None:
        """In the executor's thread: one retraining, to its end."""
        arguments = ["retrain", "--once", "--actor", ACTOR, *(["--dataset", dataset] if dataset else [])]
        with self._mutex:
            if self._stopping:
                return
            with suppress(OSError):  # a full disk costs the catch-up after a crash, not the retraining
                write_text(
                    self._note, "A retraining runs. If none does, it was cut off, and the next start catches up.\n"
                )
            self._child = self._start(arguments)
        began = time.monotonic()
        status = self._child.wait()
        self._child = None
        if status >= 0 and status not in {INTERRUPTED, TERMINATED}:
            self._note.unlink(missing_ok=True)
        failed = f"failed with status {status}, for the reason above" if status > 0 else f"died of signal {-status}"
        ending = _ENDINGS.get(status, failed)
        self._tell(f"the retraining {ending} after {time.monotonic() - began:.0f} s")
        if status in {DONE, INTERRUPTED, TERMINATED}:
            self._tries = 0
        else:
            self._try_again()

    def _try_again(self) -> None:
        """Bring the next run forward, unless cron's comes sooner or this has been done often enough."""
        with self._mutex:  # a stop waits for this thread with APScheduler's own lock held
            if self._stopping:
                return
            try:
                job, soon = self.get_job(JOB), datetime.now(UTC) + _AGAIN
                if job is not None and self._tries < _MOST_AGAIN and soon < job.next_run_time:
                    job.modify(next_run_time=soon)
                    self._tries += 1
                    self._tell(f"it is tried again at {_minute(soon)} UTC ({self._tries} of {_MOST_AGAIN})")
                else:
                    self._tries = 0
            except SQLAlchemyError as error:
                self._tell(f"{self._store.path} can't be used ({explain(error)}); cron's next time will do")

    def _end(self) -> None:
        self._stopping = True
        with self._mutex:
            child = self._child
        if child is not None:
            self._tell(f"stopping the retraining; within {_GRACE_SECONDS:.0f} s")
            children.stop(child, _GRACE_SECONDS)
        if self.running:
            BaseScheduler.shutdown(self)
        self._tell("the schedule has ended; what is due is kept")


class _Store(SQLAlchemyJobStore):  # type: ignore[misc]  # APScheduler has no types
    """APScheduler's store with JSON where it pickles: expression, dataset and next run; what is run isn't read from the file.

    Args:
        path: of the SQLite file.
        work: what the job does.
    """

    def __init__(self, path: Path, work: Callable[[str | None], None]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            path.chmod(0o600)
        except OSError as error:
            raise StoreError(f"{path} can't be made: {error.strerror or error}. Mend that and start again.") from None
        self.path, self._work = path, work
        super().__init__(url=f"sqlite:///{path}")

    def add_job(self, job: Job) -> None:
        with self.engine.begin() as connection:
            connection.execute(self.jobs_t.insert().values(id=job.id, **_row(job)))

    def update_job(self, job: Job) -> None:
        with self.engine.begin() as connection:
            changed = connection.execute(self.jobs_t.update().values(**_row(job)).where(self.jobs_t.c.id == job.id))
            if not changed.rowcount:
                raise JobLookupError(job.id)

    def _reconstitute_job(self, job_state: bytes) -> Job:
        state = json.loads(job_state)
        job = Job(
            self._scheduler,
            id=JOB,
            func=self._work,
            args=(),
            kwargs={"dataset": state["dataset"]},
            name=state["cron"],
            trigger=read_cron(state["cron"], UTC),
            executor="default",
            misfire_grace_time=None,
            coalesce=True,
            max_instances=1,
            next_run_time=datetime.fromisoformat(state["next_run_time"]),
        )
        job._jobstore_alias = self._alias  # noqa: SLF001 - as the method that this one replaces does
        return job


def _row(job: Job) -> dict[str, Any]:
    state = {"cron": job.name, "dataset": job.kwargs["dataset"], "next_run_time": job.next_run_time.isoformat()}
    return {
        "next_run_time": datetime_to_utc_timestamp(job.next_run_time),
        "job_state": json.dumps(state, sort_keys=True).encode(),
    }


def _starter(root: Path) -> Start:
    # In a session of its own: Ctrl-C reaches this process alone, which passes it on and waits.
    return partial(children.start, "carrossel", root=root, session=True)


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


@contextmanager
def _stopped_by_signals(schedule: Schedule) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        schedule.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Lines(logging.Handler):
    """What APScheduler complains of, in one line each."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        why = f": {record.exc_info[1]}" if record.exc_info else ""
        self._tell(" ".join(f"{record.getMessage()}{why}".split()))


@contextmanager
def _told(tell: Tell) -> Iterator[None]:
    logger = logging.getLogger("apscheduler")
    handler, before = _Lines(tell), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
