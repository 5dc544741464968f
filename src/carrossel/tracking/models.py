"""A model folder as a servable MLflow model: safetensors, manifest and the code that reads them; no pickle."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import carrossel
from carrossel.errors import ModelError
from carrossel.targets.base import CHANCES, MOVES, QUANTILES, quantile_column

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

MODEL_FILES = ("manifest.json", "model.safetensors")
OPTIONAL_FILES = ("model.onnx",)
"""Which models of before don't have: what serves without torch."""
FILES_PATH = "artifacts/files"
"""Where they lie within a logged model: what `_save` makes of its folder `files`."""
PRICES = ("open", "high", "low", "close")
# what `carrossel.forecaster.stored` imports, and MLflow itself to serve it
REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas", "pydantic", "pyyaml", "safetensors", "scipy")


def log_model(client: MlflowClient, run_id: str, folder: Path) -> str:
    """Log a model folder as a model of a run: its id.

    The model holds a copy of the package's code: a version in the registry can be served when the project has moved on.

    Raises:
        ModelError: if the folder isn't a complete model.
        MlflowException: if the server fails.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    example = example_bars(folder)
    run = client.get_run(run_id)
    logged = client.create_logged_model(
        run.info.experiment_id,
        name=folder.name,
        source_run_id=run_id,
        params=run.data.params,
        model_type="forecaster",
    )
    try:
        with tempfile.TemporaryDirectory(prefix="carrossel-model-") as temporary:
            files, code, model = (Path(temporary) / part for part in ("files", "code", "model"))
            files.mkdir()
            for name in MODEL_FILES:
                shutil.copyfile(folder / name, files / name)
            for name in OPTIONAL_FILES:
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, files / name)
            shutil.copytree(
                Path(carrossel.__file__).parent,
                code / "carrossel",
                ignore=shutil.ignore_patterns("__pycache__", "samples"),
            )
            _save(model, files, code / "carrossel", example, {"run_id": run_id, **_identity(logged)})
            client.log_model_artifacts(logged.model_id, str(model))
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        client.finalize_logged_model(logged.model_id, "READY")
    except Exception:
        with suppress(MlflowException):  # the first error is the one to tell
            client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    return str(logged.model_id)


def _save(model: Path, files: Path, code: Path, example: pd.DataFrame, identity: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns about the type hints of its own modules; what goes wrong raises
        from mlflow.models import Model
        from mlflow.pyfunc import save_model

        save_model(
            str(model),
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"model": str(files)},
            code_paths=[str(code)],
            signature=signature(),
            input_example=example,
            # a build's label such as +cpu names no version that an index has
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS],
            mlflow_model=Model(**identity),
        )


def _identity(logged: LoggedModel) -> dict[str, Any]:
    return {"artifact_path": logged.artifact_location, "model_uuid": logged.model_id, "model_id": logged.model_id}


def find_model(client: MlflowClient, run_id: str) -> str | None:
    """Id of a run's complete model, the newest if there are several."""
    outputs = client.get_run(run_id).outputs
    for output in reversed(outputs.model_outputs if outputs else []):
        if client.get_logged_model(output.model_id).status == "READY":
            return str(output.model_id)
    return None


def signature() -> ModelSignature:
    """Raw bars in, forecasts out: a row per window and horizon, quantiles and likeliest moves where the head has them.

    JSON has no timestamps, and MLflow's `datetime` refuses those with a time zone: the column takes any type, and the
    model reads ISO 8601 strings as well as timestamps.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(AnyType(), "timestamp"),  # type: ignore[no-untyped-call]  # mlflow's constructor is untyped
                *(ColSpec("double", name) for name in PRICES),
                ColSpec("double", "volume", required=False),
                ColSpec("double", "realised_variance", required=False),
            ]
        ),
        outputs=Schema(
            [
                ColSpec("string", "origin"),
                ColSpec("long", "horizon"),
                ColSpec("double", "last_close"),
                ColSpec("double", "forecast"),
                *(ColSpec("double", quantile_column(level), required=False) for level in QUANTILES),
                *(ColSpec("double", name, required=False) for name in (*MOVES, *CHANCES)),
            ]
        ),
    )


def example_bars(folder: Path) -> pd.DataFrame:
    """The fewest bars the model forecasts from, as a JSON client sends them: real closes of the end of the test part.

    A model folder holds closes alone: each bar opens at the close before it, and every volume is 1.

    Raises:
        ModelError: if the folder isn't a complete model.
    """
    import pandas as pd

    manifest = read_manifest(folder)
    learned = manifest.get("bars", {})
    needed = int(learned.get("needed", manifest["windows"]["lookback"] + 1))
    try:
        forecasts = pd.read_parquet(folder / "forecasts.parquet", columns=["split", "origin", "last_close"])
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: forecasts.parquet can't be read ({error}). Train it again.") from None
    closes = forecasts[forecasts["split"] == "test"].drop_duplicates("origin").sort_values("origin").tail(needed)
    if closes.empty:
        raise ModelError(f"{folder}: forecasts.parquet has no row of the test part. Train it again.")
    last, missing = closes["origin"].iloc[-1], needed - len(closes)
    close = pd.concat([pd.Series([closes["last_close"].iloc[0]] * missing, dtype="float64"), closes["last_close"]])
    close = close.reset_index(drop=True).astype("float64")
    steps = closes["origin"].diff().dropna()
    stamps = pd.date_range(end=last, periods=len(close), freq=steps.min() if len(steps) else pd.Timedelta("1h"))
    opened = close.shift(fill_value=close.iloc[0])
    further = {"realised_variance": 1e-5} if "realised_variance" in learned.get("columns", ()) else {}
    return pd.DataFrame(
        {
            "timestamp": [stamp.isoformat() for stamp in stamps],
            "open": opened,
            "high": close.combine(opened, max),
            "low": close.combine(opened, min),
            "close": close,
            "volume": 1.0,
            **further,
        }
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """A model folder's manifest.

    Raises:
        ModelError: if it is missing or isn't a mapping in JSON.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: manifest.json can't be read ({error}). Train it again.") from None
    if not isinstance(manifest, dict):
        raise ModelError(
            f"{folder}: manifest.json holds {type(manifest).__name__}, expected a mapping. Train it again."
        )
    return manifest
