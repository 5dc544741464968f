"""What exploration and comparison leave, as a run of its own beside the trainings: plots, tables and the report."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from carrossel.files import sha256
from carrossel.tracking.mlflow_recorder import KEY_TAG, open_run
from carrossel.tracking.relog import find_run

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.tracking.store import Store

RUN_NAME = "report"


def report_files(root: Path, dataset: str) -> dict[str, list[Path]]:
    """Files of a dataset's report run, by the folder of the run's artifacts they go to."""
    reports = root / "reports"
    found = {
        "": [reports / "report.html", reports / "skill.png"],
        "explore": sorted((reports / "explore" / dataset).glob("*")),
        "quality": sorted((reports / "quality").glob(f"{dataset}.*")),
        "evaluation": sorted((reports / "evaluation").glob(f"{dataset}.*")),
        "gradient_by_lag": [
            reports / "plots" / f"gradient_by_lag_{dataset}_{when}_epoch.png" for when in ("first", "last")
        ],
        "study": sorted((reports / "studies" / dataset).glob("*")),
        "study/figures": sorted((reports / "studies" / dataset / "figures").glob("*")),
        "cell_lab": [reports / "plots" / f"cell_lab_{name}_{dataset}.png" for name in ("memory", "listening", "gates")],
    }
    return {folder: [file for file in files if file.is_file()] for folder, files in found.items()}


def sync_reports(store: Store, root: Path, dataset: str) -> str | None:
    """Make the server have a finished run with the dataset's plots and report as they are now.

    Args:
        root: the project's folder.

    Returns:
        The run's id; None if nothing has been reported yet.

    Raises:
        TrackingError: if the server fails.
    """
    files = report_files(root, dataset)
    digest = hashlib.sha256()
    for folder, members in files.items():
        for file in members:
            digest.update(f"{folder}/{file.name} {sha256(file)}\n".encode())
    if not any(files.values()):
        return None
    key = digest.hexdigest()
    if run_id := find_run(store, dataset, key):
        return run_id
    with open_run(dataset, RUN_NAME, key=f"incomplete-{key}", store=store, strict=True) as recorder:
        for folder, members in files.items():
            for file in members:
                recorder.artifact(file, folder)
        recorder.tags({KEY_TAG: key})
    return recorder.run_id
