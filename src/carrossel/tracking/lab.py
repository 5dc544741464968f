"""Makes the server have what the cell lab and the odyssey left, as one run each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrossel.tracking.mlflow_recorder import open_run
from carrossel.tracking.relog import find_run
from carrossel.tracking.results import (
    LAB,
    ODYSSEY,
    exam_metrics,
    log_results,
    odyssey_metrics,
    read_metrics,
    result_files,
    results_key,
)
from carrossel.tracking.store import open_tracking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from carrossel.tracking.store import Store


def sync_lab(root: Path, *, store: Store | None = None) -> str | None:
    """Make the server have a finished run with the lab's results as they are now.

    Args:
        root: the project's folder.
        store: an open one; section `tracking` says which if not given.

    Returns:
        The run's id; None if the lab has left nothing yet, which asks no server.

    Raises:
        TrackingError: if the server fails.
        LabError: if the exams' table can't be read.
    """
    return _sync(root / "reports" / LAB, "exams", exam_metrics, store)


def sync_odyssey(root: Path, *, store: Store | None = None) -> str | None:
    """Make the server have a finished run with the odyssey's results as they are now; see `sync_lab`.

    Raises:
        TrackingError: if the server fails.
        StudyError: if the cells' table can't be read.
    """
    return _sync(root / "reports" / ODYSSEY, "cells", odyssey_metrics, store)


def _sync(
    folder: Path, table: str, metrics_of: Callable[[pd.DataFrame], dict[str, float]], store: Store | None
) -> str | None:
    if not result_files(folder):
        return None
    name, key = folder.name, results_key(folder)
    metrics = read_metrics(folder / f"{table}.csv", metrics_of)
    store = store or open_tracking()
    with store.lock(f"tracking-{name}"):  # two at once would both miss the run and both log it
        if run_id := find_run(store, name, key):
            return run_id
        with open_run(name, name, key=f"incomplete-{key}", store=store, strict=True) as recorder:
            log_results(recorder, folder, metrics)
        return recorder.run_id
