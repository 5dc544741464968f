"""Where studies are kept: sqlite beside params.yaml or PostgreSQL; whose trials still live, and whose are to be run again."""

from __future__ import annotations

import copy
import os
import warnings
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, cast

import optuna
from filelock import FileLock
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from carrossel.errors import StudyError
from carrossel.tracking.config import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from optuna.storages import BaseStorage
    from optuna.study import Study, StudySummary
    from optuna.trial import FrozenTrial, Trial

# Each trial is a tracked run and is shown while it runs; Optuna's own lines would say it twice.
optuna.logging.set_verbosity(optuna.logging.WARNING)
# Heartbeats have been marked experimental since Optuna 2.9; the version is pinned, so nobody needs to be told at every run.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning, message=".*(eartbeat|stale).*")
# Optuna's own loop beats; we ask and tell, and beat ourselves.
warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used with Study.optimize")

VARIABLE = "CARROSSEL_STUDIES"
_HEARTBEAT_S, _STALE_AFTER_S = 2, 6
_BUSY_S, _CONNECT_S = 30, 5
_DEAD = "dead"  # in a trial's system attributes: its driver is gone
_RUNG = "completed_rung_"  # Optuna's mark of a trial that reached a rung
_OF_THE_DEAD = ("reason", "seconds", "parameters", "epochs")
_HEARTLESS = text(
    "SELECT trials.trial_id FROM trials LEFT JOIN trial_heartbeats ON trial_heartbeats.trial_id = trials.trial_id "
    "WHERE trials.study_id = :study AND trials.state = 'RUNNING' AND trial_heartbeats.trial_id IS NULL"
)


class _Retry(RetryHeartbeatStaleTrialCallback):
    """Queues a dead trial's values again, without what the dead one had reached."""

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        trial.system_attrs = {
            key: value for key, value in trial.system_attrs.items() if key != _DEAD and not key.startswith(_RUNG)
        }
        trial.user_attrs = {key: value for key, value in trial.user_attrs.items() if key not in _OF_THE_DEAD}
        super().__call__(study, trial)


class Heartbeats:
    """Says of running trials that somebody is still at them; see `beating`."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = cast("RDBStorage", storage)
        self._trials: frozenset[int] = frozenset()  # replaced, never changed: two threads look at it

    def add(self, trial_id: int) -> None:
        """From now on this one, too."""
        self._trials |= {trial_id}
        self._beat({trial_id})

    def remove(self, trial_id: int) -> None:
        """It ended."""
        self._trials -= {trial_id}

    def _beat(self, trials: frozenset[int] | set[int]) -> None:
        # A database that is away for a moment ends neither the thread nor the driver: the next beat will do.
        with suppress(StorageInternalError, SQLAlchemyError, OSError):
            for trial_id in trials:
                self._storage.record_heartbeat(trial_id)

    def _go_on(self, stop: Event, interval: float) -> None:
        while not stop.wait(interval):
            self._beat(self._trials)


def storage_url(configured: str | None, root: Path, environment: Mapping[str, str] = os.environ) -> str:
    """URL of the studies: `CARROSSEL_STUDIES`, else `tuning.storage`, else sqlite at root/.carrossel/studies.db.

    Raises:
        StudyError: if it isn't a URL.
    """
    try:
        url = make_url(environment.get(VARIABLE) or configured or "sqlite:///.carrossel/studies.db")
    except (ArgumentError, ValueError):  # ValueError: a port that isn't a number
        raise StudyError(
            f"tuning.storage (or {VARIABLE}) isn't a database URL, such as postgresql+psycopg://host/name."
        ) from None
    if url.drivername in {"postgresql", "postgres"}:
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite" and url.database and not url.database.startswith((":", "file:")):
        url = url.set(database=f"{root / url.database}")
    return url.render_as_string(hide_password=False)


def open_storage(configured: str | None, root: Path) -> RDBStorage:
    """Connect to the studies and make what tables are lacking.

    Raises:
        StudyError: if the database can't be reached or isn't one of studies, without a word of its credentials.
    """
    url = storage_url(configured, root)
    try:
        with _alone(url):  # two at once would both make the tables
            try:
                return _connect(url)
            except (ProgrammingError, IntegrityError):  # another machine made them this very moment
                return _connect(url)
    except (SQLAlchemyError, StorageInternalError, ImportError, OSError, RuntimeError) as error:
        raise _refusal(error, url) from None


@contextmanager
def explaining(storage: RDBStorage) -> Iterator[None]:
    """Make one clear error of whatever the database complains of meanwhile.

    Raises:
        StudyError: without a word of its credentials.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise _refusal(error, storage.url) from None


@contextmanager
def beating(storage: BaseStorage) -> Iterator[Heartbeats]:
    """Record heartbeats of the trials that are added, from a thread: ask and tell don't."""
    heartbeats, stop = Heartbeats(storage), Event()
    interval = cast("RDBStorage", storage).get_heartbeat_interval() or _HEARTBEAT_S
    thread = Thread(target=heartbeats._go_on, args=(stop, interval), name="heartbeats", daemon=True)  # noqa: SLF001 - of this file
    thread.start()
    try:
        yield heartbeats
    finally:
        stop.set()
        thread.join(_CONNECT_S)


def retry_stale(study: Study) -> list[int]:
    """Fail running trials whose driver is gone, and queue them again with the same values.

    A trial whose driver was killed before its first heartbeat gets one here, and is found stale by a later call. One that
    was failed but not queued again, as that driver was killed in between, is queued now. So this is for calling every few seconds.

    Returns:
        Numbers of the trials that were queued again, as they were.
    """
    cached: Any = study._storage  # noqa: SLF001 - a study doesn't show what it was opened with
    storage = getattr(cached, "_backend", cached)
    if not isinstance(storage, RDBStorage):
        return []
    with storage.engine.connect() as connection:
        heartless = list(connection.execute(_HEARTLESS, {"study": study._study_id}).scalars())  # noqa: SLF001 - likewise
    for trial_id in heartless:
        storage.record_heartbeat(trial_id)
    with _alone(storage.url):  # sqlite has no lock on a row: two drivers would both queue a trial
        return _fail_and_queue(study, cached)


def first_number(trial: FrozenTrial) -> int:
    """Number of the trial that was the first with these values; a repeated one has another."""
    return int(trial.system_attrs.get("failed_trial", trial.number))


def failed_by_itself(trial: FrozenTrial) -> bool:
    """Whether a trial failed for a reason of its own; those whose driver was killed were queued again.

    A driver that is killed between a trial's reason and its end leaves a reason, too.
    """
    return trial.state == TrialState.FAIL and "reason" in trial.user_attrs and _DEAD not in trial.system_attrs


def lost_with_drivers(trials: Iterable[FrozenTrial]) -> set[int]:
    """Numbers of trials that failed with their driver: each was queued again, or will be."""
    trials = list(trials)
    repeated = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
    return repeated | {trial.number for trial in trials if _DEAD in trial.system_attrs}


def give_up(study: Study, trial: Trial) -> None:
    """Fail a running trial and queue it again; who dies in between leaves the rest to `retry_stale`.

    Raises:
        UpdateFinishedTrialError: if it isn't running any more.
    """
    study._storage.set_trial_system_attr(trial._trial_id, _DEAD, value=True)  # noqa: SLF001 - a trial can't be failed otherwise
    study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)  # noqa: SLF001 - likewise
    queue_again(study, trial.number)


def queue_again(study: Study, number: int) -> None:
    """Queue a failed trial's values once more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        _Retry()(study, copy.deepcopy(study.get_trials(deepcopy=False)[number]))


def list_studies(storage: RDBStorage) -> list[StudySummary]:
    """Every study there, the oldest first."""
    summaries = optuna.get_all_study_summaries(storage)
    return sorted(summaries, key=lambda summary: (summary.datetime_start is None, f"{summary.datetime_start}"))


def _fail_and_queue(study: Study, storage: Any) -> list[int]:
    mine = set()
    for trial_id in storage._get_stale_trial_ids(study._study_id):  # noqa: SLF001 - as Optuna's own fail_stale_trials
        with suppress(UpdateFinishedTrialError):  # it ended this very moment, or another driver was faster
            storage.set_trial_system_attr(trial_id, _DEAD, value=True)
            storage.set_trial_state_values(trial_id, TrialState.FAIL)
            mine.add(trial_id)
    trials = study.get_trials(deepcopy=False)
    queued = {number for trial in trials for number in trial.system_attrs.get("retry_history", [])}
    # Who failed them queues them at once; long after, nobody will.
    long_ago = datetime.now() - timedelta(seconds=2 * _STALE_AFTER_S)  # noqa: DTZ005 - as Optuna writes it
    dead = [
        trial.number
        for trial in trials
        if trial.state == TrialState.FAIL
        and _DEAD in trial.system_attrs
        and trial.number not in queued
        and (trial._trial_id in mine or (trial.datetime_complete or long_ago) < long_ago)  # noqa: SLF001 - likewise
    ]
    for number in dead:
        queue_again(study, number)
    return dead


def _connect(url: str) -> RDBStorage:
    parsed = make_url(url)
    options: dict[str, Any] = {"pool_pre_ping": True}
    if parsed.get_backend_name() == "sqlite":
        options = {"connect_args": {"timeout": _BUSY_S}}
    elif parsed.get_driver_name() in {"psycopg", "psycopg2"}:
        options["connect_args"] = {"connect_timeout": _CONNECT_S}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = RDBStorage(
            url.replace("{", "{{").replace("}", "}}"),  # Optuna formats it
            engine_kwargs=options,
            heartbeat_interval=_HEARTBEAT_S,
            grace_period=_STALE_AFTER_S,
            heartbeat_stale_trial_callback=_Retry(),
        )
    if configure := {"sqlite": _configure_sqlite, "postgresql": _configure_postgresql}.get(storage.engine.name):
        event.listen(storage.engine, "connect", configure)
        storage.engine.dispose()  # connections made before
        storage.engine.connect().close()  # now, while nobody else is there: the first one changes sqlite's journal
    return storage


def _configure_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # who reads doesn't keep the driver from writing
    cursor.execute("PRAGMA synchronous=NORMAL")  # a power cut costs the last trials, which are then repeated
    cursor.close()


def _configure_postgresql(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # Heartbeats are stored without their zone: drivers in two zones would take each other's trials for dead, and everybody
    # everybody's when the clocks change.
    cursor.execute("SET TIME ZONE 'UTC'")
    cursor.close()
    connection.commit()


def _alone(url: str) -> AbstractContextManager[Any]:
    """The only process at a sqlite file; PostgreSQL has locks of its own."""
    parsed = make_url(url)
    file = parsed.database or ":"
    if parsed.get_backend_name() != "sqlite" or file.startswith((":", "file:")):
        return nullcontext()
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{file}.lock")


def _refusal(error: BaseException, url: str) -> StudyError:
    cause = error.__cause__ if isinstance(error, StorageInternalError | ImportError) and error.__cause__ else error
    lines = str(getattr(cause, "orig", None) or cause).strip().splitlines() or [type(cause).__name__]
    shown = make_url(url).render_as_string(hide_password=True)
    what = redact(f"{shown} can't keep studies: {lines[0][:300].rstrip('.')}", url)
    return StudyError(f"{what}. Mend it, or change tuning.storage or {VARIABLE}.")
