"""A trained model as a folder: everything that evaluation, the report and MLflow need, so that none of them trains again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from carrossel.files import replacing, replacing_folder
from carrossel.forecaster.onnx import ONNX, write_onnx
from carrossel.forecaster.stored import StoredForecaster, quantile_columns, save
from carrossel.windows.forecast_rows import FORECAST_PARTS, describe_windows, forecast_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carrossel.targets.base import Unit
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
    rows = _forecasts(store(fit, data, recipe, manifest), data)
    manifest["interval"] = describe_interval(rows[rows["split"] == "validation"], data.target.unit, data.horizons)
    with replacing_folder(folder) as temporary:
        save(temporary, fit.network, manifest)
        with replacing(temporary / ONNX) as path:
            write_onnx(path, fit.network)
        with replacing(temporary / "forecasts.parquet") as path:
            rows.to_parquet(path, compression="zstd", index=False)
        _write_csv(temporary / "history.csv", pd.DataFrame(fit.history))
        for name, table in fit.gradients.tables().items():
            _write_csv(temporary / f"{name}.csv", pd.DataFrame(table).sort_values("epoch", kind="stable"))


def describe_interval(
    rows: pd.DataFrame, unit: Unit, horizons: Sequence[int], level: float = 0.9
) -> dict[str, Any] | None:
    """How wide an interval around a forecast holds `level` of the truths: split conformal, on rows not trained on.

    Args:
        rows: of the validation part, with the columns of `forecasts.parquet`.

    Returns:
        level, relative (whether half widths are shares of the last close, as for prices) and half_width, one per horizon; None for
        probabilities, whose truth is 0 or 1, and where there are fewer than level / (1 − level) rows.

    References:
        Lei, G'Sell, Rinaldo, Tibshirani & Wasserman (2018), Distribution-free predictive inference for regression, algorithm 2.
    """
    if unit == "probability":
        return None
    widths = []
    for horizon in horizons:
        own = rows[rows["horizon"] == horizon]
        error = np.sort(np.abs(own["truth"] - own["forecast"]) / (own["last_close"] if unit == "price" else 1.0))
        rank = math.ceil((len(error) + 1) * level)
        if rank > len(error):
            return None
        widths.append(float(error[rank - 1]))
    return {"level": level, "relative": unit == "price", "half_width": widths}


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
