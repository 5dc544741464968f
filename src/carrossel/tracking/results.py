"""What the cell lab and the odyssey leave in their folders, as metrics and artifacts of a run."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from carrossel.errors import LabError, StudyError
from carrossel.files import sha256
from carrossel.tracking.mlflow_recorder import KEY_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pandas as pd

    from carrossel.recorder import Recorder

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


def log_odyssey(recorder: Recorder, root: Path) -> None:
    """Log the odyssey's results to its own run, so that `sync_odyssey` finds them there.

    Args:
        root: the project's folder.
    """
    folder = root / "reports" / ODYSSEY
    log_results(recorder, folder, read_metrics(folder / "cells.csv", odyssey_metrics))


def results_key(folder: Path) -> str:
    """SHA-256 over names and bytes of a folder's results, in hex."""
    digest = hashlib.sha256()
    for file in result_files(folder):
        digest.update(f"{file.relative_to(folder).as_posix()} {sha256(file)}\n".encode())
    return digest.hexdigest()


def log_results(recorder: Recorder, folder: Path, metrics: Mapping[str, float]) -> None:
    """Log all that a folder holds; the key comes last: a finished run that has it is complete."""
    told = list(metrics.items())
    for start in range(0, len(told), _MOST):
        recorder.metrics(dict(told[start : start + _MOST]))
    for file in result_files(folder):
        parent = file.relative_to(folder).parent.as_posix()
        recorder.artifact(file, "" if parent == "." else parent)
    recorder.tags({KEY_TAG: results_key(folder)})


def read_metrics(file: Path, metrics_of: Callable[[pd.DataFrame], dict[str, float]]) -> dict[str, float]:
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
