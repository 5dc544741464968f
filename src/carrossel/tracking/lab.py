"""What the cell lab and the odyssey leave, as one run each: their figures as metrics, and every table, figure and page."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from carrossel.errors import LabError, StudyError
from carrossel.files import sha256
from carrossel.tracking.mlflow_recorder import KEY_TAG, open_run
from carrossel.tracking.relog import find_run
from carrossel.tracking.store import open_tracking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from carrossel.tracking.store import Store

LAB = "lab"  # name of folder, experiment and run; exams belong to no dataset
ODYSSEY = "odyssey"
_SKILLS = ("best", "best_tenth_median", "median")
_SUFFIXES = (".csv", ".png", ".html")
_REFUSED = re.compile(r"[^\w\-. ]", re.ASCII)  # in names of metrics
_MOST = 1000  # metrics that MLflow takes at once


def result_files(folder: Path) -> list[Path]:
    """Tables, figures and pages under a folder of reports, sorted; hidden ones are half-written."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix in _SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def exam_metrics(exams: pd.DataFrame) -> dict[str, float]:
    """Scalars of the exams, mean over seeds.

    Args:
        exams: as in `reports/lab/exams.csv`.

    Returns:
        `exam/length/candidate/…`: `solved`, a share; `score`; `iterations`, of the seeds that solved it. And
        `exam/length/solved`, the share of all candidates and seeds.
    """
    metrics: dict[str, float] = {}
    for (exam, length), sat in exams.groupby(["exam", "length"]):
        where = f"{_clean(exam)}/{length}"
        metrics[f"{where}/solved"] = float(sat["solved"].astype(float).mean())
        for candidate, own in sat.groupby("candidate"):
            name = f"{where}/{_clean(candidate)}"
            solved = own["solved"].astype(bool)
            metrics[f"{name}/solved"] = float(solved.mean())
            metrics[f"{name}/score"] = float(own["score"].mean())
            if solved.any():
                metrics[f"{name}/iterations"] = float(own.loc[solved, "iterations"].mean())
    return {name: value for name, value in metrics.items() if value == value}  # noqa: PLR0124 - NaN is none


def odyssey_metrics(cells: pd.DataFrame) -> dict[str, float]:
    """Skills of the odyssey's cells, as `cell/best_tenth_median`.

    Args:
        cells: as in `reports/odyssey/cells.csv`.
    """
    return {f"{_clean(row['cell'])}/{name}": float(row[name]) for _, row in cells.iterrows() for name in _SKILLS}


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
    files = result_files(folder)
    if not files:
        return None
    name = folder.name
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder).as_posix()} {sha256(file)}\n".encode())
    key = digest.hexdigest()
    metrics = _read_metrics(folder / f"{table}.csv", metrics_of)
    store = store or open_tracking()
    with store.lock(f"tracking-{name}"):  # two at once would both miss the run and both log it
        if run_id := find_run(store, name, key):
            return run_id
        with open_run(name, name, key=f"incomplete-{key}", store=store, strict=True) as recorder:
            told = list(metrics.items())
            for start in range(0, len(told), _MOST):
                recorder.metrics(dict(told[start : start + _MOST]))
            for file in files:
                parent = file.relative_to(folder).parent.as_posix()
                recorder.artifact(file, "" if parent == "." else parent)
            recorder.tags({KEY_TAG: key})
        return recorder.run_id


def _read_metrics(file: Path, metrics_of: Callable[[pd.DataFrame], dict[str, float]]) -> dict[str, float]:
    import pandas as pd

    if not file.is_file():
        return {}
    try:
        return metrics_of(pd.read_csv(file))
    except (ValueError, KeyError) as error:
        kind, stage = (LabError, "exams") if file.parent.name == LAB else (StudyError, ODYSSEY)
        raise kind(f"{file} can't be read ({error}). Run: dvc repro {stage}") from None


def _clean(name: object) -> str:
    return _REFUSED.sub("_", str(name))
