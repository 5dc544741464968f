"""Where tasks run: processes on this machine, or a Dask cluster that is already there. Importing it takes a second."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import dask
from distributed import CancelledError, Client, KilledWorker, LocalCluster
from distributed.client import ClosedClientError
from distributed.utils import silence_logging_cmgr

from carrossel.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributed import Future

T = TypeVar("T")
_ANSWER_S = 10
_STARTS = 3
_SETTINGS = {
    # Bars travel once, inside the graph, so that a lost worker's copy can be made again: their size needs no warning.
    "distributed.admin.large-graph-warning-threshold": "64 GiB",
    # Dask has workers hand freed memory back at once; a training that allocates the same tensors again at every step then
    # spends a fifth of its time on page faults.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}


@contextmanager
def open_client(scheduler: str | None, workers: int, scratch: Path, section: str) -> Iterator[Client]:
    """A client of a scheduler, or of local processes of one thread each, which end with the block.

    Args:
        scheduler: its address; None for local processes.
        workers: number of local processes.
        scratch: folder for the local workers' files.
        section: of params.yaml where `scheduler` stands, for messages.

    Raises:
        ConfigError: if the scheduler doesn't answer or has no workers.
        TrainingError: if local processes can't be started.
    """
    if scheduler is None:
        with open_cluster(workers, scratch, section) as cluster, Client(cluster) as client:
            yield client
        return
    with (
        dask.config.set(_SETTINGS),
        silence_logging_cmgr(logging.CRITICAL),  # a scheduler that dies is told in one line by who waits for results
        _connect(scheduler, section) as client,
    ):
        yield client


@contextmanager
def open_cluster(workers: int, scratch: Path, section: str) -> Iterator[LocalCluster]:
    """Local processes of one thread each, which end with the block; arguments and errors as of `open_client`."""
    with dask.config.set(_SETTINGS), _start_cluster(workers, scratch, section) as cluster:
        yield cluster


def _start_cluster(workers: int, scratch: Path, section: str) -> LocalCluster:
    """Started anew if a worker dies before it is ready."""
    for _ in range(_STARTS):
        try:
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                # Else its port is 8787, which two datasets side by side would quarrel over.
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                memory_limit=None,
                local_directory=str(scratch),
                silence_logs=logging.CRITICAL,
            )
        except (RuntimeError, TimeoutError) as error:
            reason = " ".join(str(error.__cause__ or error).split())
    raise TrainingError(
        f"{section}.workers = {workers}: the workers didn't start, {_STARTS} times running ({reason[:200]}), perhaps for want of "
        f"memory. Lower {section}.workers and run again; finished parts are kept."
    )


def result_of(future: Future[T], task: object, section: str) -> T:
    """What a task returned, or raised.

    Args:
        task: what messages call it.
        section: as for `open_client`.

    Raises:
        TrainingError: if no worker lived through it, or the scheduler died.
    """
    try:
        return future.result()
    except KilledWorker:
        raise TrainingError(
            f"{task}: every worker that tried it died, probably for want of memory. Lower {section}.workers and run "
            "again; finished parts are kept."
        ) from None
    except (CancelledError, ClosedClientError, OSError) as error:
        if future.status == "error":  # raised by the task itself, such as for a full disk of its worker
            raise
        # A scheduler that dies cancels every future; one that dies while a result travels closes the connection, an OSError.
        raise TrainingError(
            f"{task}: lost the connection to the scheduler ({getattr(error, 'reason', type(error).__name__)}). Start it and its "
            f"workers again, or set {section}.scheduler to null to run on this machine, then run again; finished parts are "
            "kept."
        ) from None


def _connect(address: str, section: str) -> Client:
    try:
        client = Client(address, timeout=_ANSWER_S)
    except TypeError:  # Dask's word for no certificates
        raise ConfigError(
            f"{section}.scheduler = {address!r} talks TLS, and no certificate is known here. Let DASK_CONFIG name the folder "
            "that holds the cluster's (docs/scale-out.md)."
        ) from None
    except OSError:
        raise ConfigError(
            f"{section}.scheduler = {address!r} doesn't answer within {_ANSWER_S} s. Start it (dask scheduler), or set it to "
            "null to run on this machine."
        ) from None
    try:
        client.wait_for_workers(1, timeout=_ANSWER_S)
    except TimeoutError:
        client.close()
        raise ConfigError(
            f"{section}.scheduler = {address!r} has no workers. Start some (dask worker {address}), or set it to null to run "
            "on this machine."
        ) from None
    return client
