"""Run what is missing, keep what is finished, write the table when all is there."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pandas as pd
from distributed import as_completed

from carrossel.files import replacing
from carrossel.targets.base import make_target
from carrossel.walk_forward.folds import cut_folds
from carrossel.walk_forward.task import Series, run_task, source_digest
from carrossel.windows.features import compute_features
from carrossel.windows.tensor import answered_rows, columns_of, usable_rows
from carrossel.workers import open_client, result_of

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.walk_forward.plan import Plan, Task


def walk_forward(bars: pd.DataFrame, plan: Plan, *, data_sha256: str, scratch: Path, table: Path) -> None:
    """Refit every model on every fold and write all forecasts as one tidy Parquet table; see `run_task` for its columns.

    Each finished task's rows lie in `scratch` under a fingerprint of model, data and code, so a killed walk-forward goes on with
    what is missing and ends with the bytes an undisturbed one would have, and an edit to one model refits that one alone.
    Workers share no files with the driver: they send rows back. A task whose worker dies runs again on another.

    Args:
        scratch: folder of this dataset's parts alone; when the table is written, parts that aren't in it go.

    Raises:
        SeriesTooShort: if a fold gets no window.
        TrainingError: if a task fails or the scheduler dies; what is finished is kept.
    """
    label = f"walk_forward@{plan.dataset}"
    columns = columns_of(bars)
    present = usable_rows(compute_features(bars, plan.windows.features), columns)
    answered = answered_rows(columns, make_target(plan.target), plan.windows.horizons)
    folds = cut_folds(present, plan.windows, plan.config, plan.dataset, answered)
    series = Series(plan.dataset, bars, folds, plan.windows, plan.target, source_digest())
    if plan.left_out:
        unit = make_target(plan.target).unit
        print(f"{label}: without {', '.join(plan.left_out)}, which can't answer in {unit}", flush=True)
    parts = {
        task: scratch
        / plan.fingerprint(task.model, data_sha256, series.code)[:24]
        / f"{task.model.name}-seed{task.seed}-fold{task.fold}.parquet"
        for task in plan.tasks(len(folds))
    }
    missing = [task for task, part in parts.items() if not part.exists()]
    kept = f", {len(parts) - len(missing)} of them finished before" if len(missing) < len(parts) else ""
    print(f"{label}: {len(parts)} tasks on {len(folds)} folds{kept}", flush=True)
    if missing:
        _run(series, missing, parts, plan, scratch)
    rows = pd.concat([pd.read_parquet(part) for part in parts.values()], ignore_index=True)
    _write(rows, table)
    _forget(scratch, keep={part.parent for part in parts.values()})


def _run(series: Series, missing: list[Task], parts: dict[Task, Path], plan: Plan, scratch: Path) -> None:
    done = len(parts) - len(missing)
    with open_client(plan.config.scheduler, plan.config.workers, scratch / "workers", "walk_forward") as client:
        # As a task of its own, not scattered: scattered data dies with its worker, a task's result is made again.
        held = client.submit(_hold, series, pure=False)
        tasks = {client.submit(run_task, held, task, pure=False): task for task in missing}
        for future in as_completed(tasks):
            task = tasks[future]
            _write(result_of(future, task, "walk_forward"), parts[task])
            future.release()
            done += 1
            print(f"walk_forward@{plan.dataset}: {done}/{len(parts)} {task}", flush=True)


def _forget(scratch: Path, keep: set[Path]) -> None:
    for folder in scratch.iterdir():
        # What people or their systems put there, such as .DS_Store, is not a part.
        if folder.is_dir() and folder not in keep:
            shutil.rmtree(folder)


def _hold(series: Series) -> Series:
    return series


def _write(rows: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        rows.to_parquet(temporary, compression="zstd", index=False)
