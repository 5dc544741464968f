"""What the cell lab leaves, as one run: exams as metrics, and every table, figure and page."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from carrossel.errors import LabError
from carrossel.files import sha256
from carrossel.tracking.mlflow_recorder import KEY_TAG, open_run
from carrossel.tracking.relog import find_run
from carrossel.tracking.store import open_tracking

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from carrossel.tracking.store import Store

EXPERIMENT = "lab"  # exams belong to no dataset
RUN_NAME = "lab"
_SUFFIXES = (".csv", ".png", ".html")
_REFUSED = re.compile(r"[^\w\-. ]", re.ASCII)  # in names of metrics
_MOST = 1000  # metrics that MLflow takes at once


def lab_files(root: Path) -> list[Path]:
    """Tables, figures and pages under `reports/lab`, sorted; hidden ones are half-written."""
    folder = root / "reports" / "lab"
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
    files = lab_files(root)
    if not files:
        return None
    folder = root / "reports" / "lab"
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder).as_posix()} {sha256(file)}\n".encode())
    key = digest.hexdigest()
    metrics = _read_metrics(folder / "exams.csv")
    store = store or open_tracking()
    with store.lock("tracking-lab"):  # two at once would both miss the run and both log it
        if run_id := find_run(store, EXPERIMENT, key):
            return run_id
        with open_run(EXPERIMENT, RUN_NAME, key=f"incomplete-{key}", store=store, strict=True) as recorder:
            names = list(metrics)
            for start in range(0, len(names), _MOST):
                recorder.metrics({name: metrics[name] for name in names[start : start + _MOST]})
            for file in files:
                parent = file.relative_to(folder).parent.as_posix()
                recorder.artifact(file, "" if parent == "." else parent)
            recorder.tags({KEY_TAG: key})
        return recorder.run_id


def _read_metrics(file: Path) -> dict[str, float]:
    import pandas as pd

    if not file.is_file():
        return {}
    try:
        return exam_metrics(pd.read_csv(file))
    except (ValueError, KeyError) as error:
        raise LabError(f"{file} can't be read ({error}). Run: dvc repro exams") from None


def _clean(name: object) -> str:
    return _REFUSED.sub("_", str(name))
