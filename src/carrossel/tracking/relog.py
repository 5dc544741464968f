"""Model folders and evaluations as MLflow runs: everything on the server can be made again from DVC's outputs."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carrossel.errors import ModelError, TrackingError
from carrossel.files import sha256
from carrossel.tracking.mlflow_recorder import (
    KEY_TAG,
    MlflowRecorder,
    find_experiment,
    open_run,
    revision_tags,
    tell,
)
from carrossel.tracking.models import OPTIONAL_FILES, read_manifest
from carrossel.tracking.store import open_tracking

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from carrossel.recorder import Recorder, Scalar
    from carrossel.tracking.store import Store

WEIGHTS = "model.safetensors"
BASELINES = "baselines"
KEY_FILES = ("manifest.json", WEIGHTS, "forecasts.parquet")
LATER_TABLES = ("sensitivity", "gates", "kept", "jacobians", "lyapunov")
"""Which models of before don't have; the last two only exist where they were asked for."""
_TAGS_NOT_PARAMS = ("dataset", "competitor", "data_sha256", "code_revision")


@dataclass(frozen=True)
class Logged:
    """A model folder and the finished run that the server has of it.

    Attributes:
        created: the server lacked it.
    """

    dataset: str
    competitor: str
    key: str
    run_id: str
    created: bool


def model_key(folder: Path) -> str:
    """What identifies a competitor: SHA-256 over manifest, weights (a baseline has none) and forecasts, in hex.

    Raises:
        ModelError: if a file is missing.
    """
    digest = hashlib.sha256()
    baseline = is_baseline(read_manifest(folder))
    for name in KEY_FILES:
        if name == WEIGHTS and baseline:
            continue
        try:
            digest.update(f"{name} {sha256(folder / name)}\n".encode())
        except OSError:
            raise ModelError(f"{folder} holds no complete model: {name} is missing. Train it again.") from None
    return digest.hexdigest()


def log_model_folder(recorder: Recorder, folder: Path) -> None:
    """Log all that a finished training left but its metrics per epoch.

    Params, tags, final metrics, figures, files and the model; the key comes last: a run that has it is complete.

    Raises:
        ModelError: if the folder isn't a complete model.
    """
    key, manifest = model_key(folder), read_manifest(folder)
    if isinstance(recorder, MlflowRecorder) and recorder.silent:
        return
    recorder.params(flatten({name: value for name, value in manifest.items() if name not in _TAGS_NOT_PARAMS}))
    recorder.tags(manifest_tags(manifest))
    if not is_baseline(manifest):
        recorder.metrics(final_metrics(manifest, _read_history(folder)))
    for name, figure in draw_figures(folder, manifest).items():
        recorder.figure(f"figures/{name}.png", figure)
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name not in {WEIGHTS, *OPTIONAL_FILES}:  # those are in the model
            recorder.artifact(file, "results")
    if isinstance(recorder, MlflowRecorder) and not is_baseline(manifest):
        recorder.model(folder)
    recorder.tags({KEY_TAG: key})


def is_baseline(manifest: Mapping[str, Any]) -> bool:
    """Whether a folder's manifest is a baseline's: no weights, no epochs, never registered."""
    return manifest.get("baseline") is not None


def log_history(recorder: Recorder, folder: Path) -> None:
    """Log the metrics of each epoch in order, as a training does while it runs; a baseline has none."""
    if is_baseline(read_manifest(folder)):
        return
    for row in _read_history(folder).to_dict("records"):
        epoch = int(row.pop("epoch"))
        recorder.metrics({str(name): float(value) for name, value in row.items() if not math.isnan(value)}, step=epoch)


def sync(models: Path, *, store: Store | None = None) -> list[Logged]:
    """Make the server have a finished run of every `models/<dataset>/<competitor>/`, logging again what it lacks.

    So a stage that DVC took from its cache, or that ran while the server was away, is visible too. A folder that isn't
    a complete model is told in one line and left out.

    Args:
        models: folder of the datasets' folders.
        store: an open one; section `tracking` says which if not given.

    Raises:
        TrackingError: if the server fails.
    """
    folders = find_model_folders(models)
    if not folders:
        return []
    store = store or open_tracking()
    logged = []
    with store.lock("tracking-sync"):  # two at once would both miss a run and both log it
        for folder in folders:
            try:
                logged.append(sync_folder(store, folder))
            except ModelError as error:
                tell(f"not logged: {error}")
    return logged


def sync_folder(store: Store, folder: Path) -> Logged:
    """The same for one model folder.

    Raises:
        ModelError: if it isn't a complete model.
        TrackingError: if the server fails.
    """
    key, manifest = model_key(folder), read_manifest(folder)
    dataset, competitor = dataset_of(folder), folder.name
    if run_id := find_run(store, dataset, key):
        return Logged(dataset, competitor, key, run_id, created=False)
    with open_run(
        dataset, competitor, key=f"incomplete-{key}", tags=manifest_tags(manifest), store=store, strict=True
    ) as recorder:
        log_history(recorder, folder)
        log_model_folder(recorder, folder)
    return Logged(dataset, competitor, key, str(recorder.run_id), created=True)


def sync_evaluation(store: Store, evaluation: Mapping[str, Any], logged: Iterable[Logged]) -> None:
    """Log an evaluation's rows onto the competitors' runs, as `test/rmse` and so on, and the test against persistence.

    What is there already stays.

    Args:
        store: an open one.
        evaluation: as in reports/evaluation/D.json.
        logged: the dataset's runs.

    Raises:
        TrackingError: if the server fails.
    """
    from mlflow.exceptions import MlflowException

    for run in logged:
        if run.dataset != evaluation["dataset"]:
            continue
        wanted = {
            f"{split}/{name}": float(value)
            for split, rows in evaluation["rows"].items()
            for name, value in rows.get(run.competitor, {}).items()
            if value is not None
        }
        judgement = evaluation.get("judgements", {}).get(run.competitor, {})
        wanted |= {f"test/{name}": float(judgement[name]) for name in ("p", "p_corrected") if name in judgement}
        try:
            there = store.client.get_run(run.run_id).data.metrics
        except (MlflowException, OSError) as error:
            raise TrackingError(store.explain(error)) from None
        new = {name: value for name, value in wanted.items() if there.get(name) != value}
        if new:
            MlflowRecorder(store, run.run_id, strict=True).metrics(new)


def sync_project(root: Path, *, store: Store | None = None) -> list[Logged]:
    """Everything under a project's `models/` and `reports/`: `sync`, then each dataset's evaluation.

    Raises:
        TrackingError: if the server fails.
        ModelError: if an evaluation can't be read.
    """
    if not find_model_folders(root / "models"):
        return []
    store = store or open_tracking()
    logged = sync(root / "models", store=store)
    for file in sorted((root / "reports").glob("evaluation/*.json")):
        sync_evaluation(store, read_evaluation(file), logged)
    return logged


def find_run(store: Store, dataset: str, key: str) -> str | None:
    """Id of the newest finished run with that key.

    Raises:
        TrackingError: if the server fails.
    """
    from mlflow.exceptions import MlflowException

    try:
        experiment_id = find_experiment(store, dataset)
        if experiment_id is None:
            return None
        runs = store.client.search_runs(
            [experiment_id], f"attributes.status = 'FINISHED' and tags.`{KEY_TAG}` = '{key}'", max_results=1
        )
    except (MlflowException, OSError) as error:
        raise TrackingError(store.explain(error)) from None
    return str(runs[0].info.run_id) if runs else None


def find_model_folders(models: Path) -> list[Path]:
    """Every `<dataset>/<competitor>/` and `<dataset>/baselines/<baseline>/` with a manifest; hidden ones are half-written."""
    found = (
        file.parent for pattern in ("*/*/", f"*/{BASELINES}/*/") for file in models.glob(f"{pattern}manifest.json")
    )
    return sorted(
        folder for folder in found if not any(part.startswith(".") for part in folder.relative_to(models).parts)
    )


def dataset_of(folder: Path) -> str:
    """The dataset a model folder belongs to."""
    return folder.parent.parent.name if folder.parent.name == BASELINES else folder.parent.name


def read_evaluation(file: Path) -> dict[str, Any]:
    """A dataset's reports/evaluation/D.json.

    Raises:
        ModelError: if it is missing or isn't an evaluation.
    """
    try:
        evaluation = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} can't be read ({error}). Run: dvc repro evaluate@{file.stem}") from None
    if not isinstance(evaluation, dict) or not {"dataset", "rows"} <= evaluation.keys():
        raise ModelError(f"{file} isn't an evaluation. Run: dvc repro evaluate@{file.stem}")
    return evaluation


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Nested mappings as dotted keys; lists as JSON."""
    flat: dict[str, Scalar] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = json.dumps(value) if isinstance(value, list) else value
    return flat


def manifest_tags(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Who, from what, by which code: the tags that a manifest gives."""
    cell = manifest.get("cell") or {}
    baseline = manifest.get("baseline") or {}
    tags = {
        "dataset": manifest.get("dataset"),
        "competitor": manifest.get("competitor"),
        "cell": cell.get("kind"),
        "baseline": baseline.get("kind"),
        "seed": (manifest.get("training") or {}).get("seed"),
        "data_sha256": manifest.get("data_sha256"),
    }
    return {
        **{name: str(value) for name, value in tags.items() if value is not None},
        **revision_tags(str(manifest.get("code_revision", "unknown"))),
    }


def final_metrics(manifest: Mapping[str, Any], history: pd.DataFrame) -> dict[str, float]:
    """What sums a training up: epochs run, the best one's validation loss, number of parameters."""
    best = history["validation_loss"].min()
    metrics = {"epochs": float(len(history)), "best_validation_loss": float(best)}
    if "parameters" in manifest:
        metrics["parameters"] = float(manifest["parameters"])
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def draw_figures(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Figure]:
    """The run's figures by name: forecast against truth, and of a network the gradient diagnostics.

    Raises:
        ModelError: if a table is missing.
    """
    from carrossel.tracking.figures import Tables, draw_baseline, draw_run

    title = f"{manifest.get('dataset')} {manifest.get('competitor')}"
    unit = str(manifest.get("unit", "price"))
    if is_baseline(manifest):
        return draw_baseline(_read(folder / "forecasts.parquet"), title, unit)
    tables = Tables(
        forecasts=_read(folder / "forecasts.parquet"),
        gradient_by_lag=_read(folder / "gradient_by_lag.csv"),
        tensors=_read(folder / "tensors.csv"),
        spectrum=_read(folder / "spectrum.csv"),
        **{name: _read(file) for name in LATER_TABLES if (file := folder / f"{name}.csv").is_file()},
    )
    return draw_run(tables, title, unit, manifest.get("best_epoch"))


def _read_history(folder: Path) -> pd.DataFrame:
    return _read(folder / "history.csv")


def _read(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} can't be read ({error}). Train it again.") from None
