"""A trained model as a folder: everything that evaluation, the report and MLflow need, so that none of them trains again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from carrossel.files import replacing, replacing_folder
from carrossel.forecaster.stored import StoredForecaster, quantile_columns, save
from carrossel.windows.forecast_rows import FORECAST_PARTS, describe_windows, forecast_rows

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.training.config import Recipe
    from carrossel.training.fitting import Fit
    from carrossel.windows.tensor import WindowedSeries


def write_model(folder: Path, fit: Fit, data: WindowedSeries, recipe: Recipe, provenance: dict[str, str]) -> None:
    """Write a model folder; it replaces what was there only when complete.

    Args:
        provenance: `data_sha256` and `code_revision`.
    """
    manifest: dict[str, Any] = {
        **recipe.as_dict(),
        **provenance,
        **describe_windows(data),
        "parameters": sum(tensor.numel() for tensor in fit.network.parameters()),
        "best_epoch": fit.best_epoch,
        "validation_loss": fit.validation_loss,
        "scalers": {"features": data.feature_scaler.as_dict(), "label": data.label_scaler.as_dict()},
    }
    stored = store(fit, data, recipe, manifest)
    with replacing_folder(folder) as temporary:
        save(temporary, fit.network, manifest)
        with replacing(temporary / "forecasts.parquet") as path:
            _forecasts(stored, data).to_parquet(path, compression="zstd", index=False)
        _write_csv(temporary / "history.csv", pd.DataFrame(fit.history))
        for name, rows in fit.gradients.tables().items():
            _write_csv(temporary / f"{name}.csv", pd.DataFrame(rows))


def store(fit: Fit, data: WindowedSeries, recipe: Recipe, manifest: dict[str, Any]) -> StoredForecaster:
    """A fitted network with what it needs to forecast in the target's unit."""
    return StoredForecaster(fit.network, recipe.windows, data.target, data.feature_scaler, data.label_scaler, manifest)


def _forecasts(stored: StoredForecaster, data: WindowedSeries) -> pd.DataFrame:
    parts = []
    for part in FORECAST_PARTS:
        origins = data.split.origins(part)
        found = stored.forecast(data.series, origins, data.bars["close"][origins])
        rows = forecast_rows(data, origins, found.point, quantile_columns(found))
        rows.insert(0, "split", part)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False)
