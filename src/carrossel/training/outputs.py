"""A trained model as a folder: everything that evaluation, the report and MLflow need, so that none of them trains again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from carrossel.files import replacing, replacing_folder
from carrossel.forecaster.stored import StoredForecaster, save

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.targets.base import Target
    from carrossel.training.config import Recipe
    from carrossel.training.fitting import Fit
    from carrossel.windows.splitting import Part
    from carrossel.windows.tensor import WindowedSeries


def write_model(
    folder: Path,
    fit: Fit,
    data: WindowedSeries,
    target: Target,
    recipe: Recipe,
    timestamps: pd.Series[pd.Timestamp],
    provenance: dict[str, str],
) -> None:
    """Write a model folder; it replaces what was there only when complete.

    Args:
        timestamps: of the bars, UTC.
        provenance: `data_sha256` and `code_revision`.
    """
    manifest: dict[str, Any] = {
        **recipe.as_dict(),
        **provenance,
        "parameters": sum(tensor.numel() for tensor in fit.network.parameters()),
        "best_epoch": fit.best_epoch,
        "validation_loss": fit.validation_loss,
        "scalers": {"features": data.feature_scaler.as_dict(), "label": data.label_scaler.as_dict()},
        "split": {part: _span(timestamps, data.split.origins(part)) for part in ("train", "validation", "test")},
        "bars": {"rows": len(timestamps), "first": _iso(timestamps.iloc[0]), "last": _iso(timestamps.iloc[-1])},
        "train_mae_naive": _naive_mae(data),
    }
    stored = StoredForecaster(fit.network, recipe.windows, target, data.feature_scaler, data.label_scaler, manifest)
    with replacing_folder(folder) as temporary:
        save(temporary, fit.network, manifest)
        _write_parquet(temporary / "forecasts.parquet", _forecasts(stored, data, timestamps))
        _write_csv(temporary / "history.csv", pd.DataFrame(fit.history))
        for name, rows in fit.gradients.tables().items():
            _write_csv(temporary / f"{name}.csv", pd.DataFrame(rows))


def _forecasts(stored: StoredForecaster, data: WindowedSeries, timestamps: pd.Series[pd.Timestamp]) -> pd.DataFrame:
    horizon = stored.windows.horizon
    parts: list[Part] = ["validation", "test"]
    frames = []
    for part in parts:
        origins = data.split.origins(part)
        last_close = data.close[origins]
        frames.append(
            pd.DataFrame(
                {
                    "split": part,
                    "origin": timestamps.iloc[origins].to_numpy(),
                    "time": timestamps.iloc[origins + horizon].to_numpy(),
                    "last_close": last_close,
                    "truth": data.truth[origins],
                    "forecast": stored.forecast(data.series, origins, last_close),
                }
            )
        )
    joined = pd.concat(frames, ignore_index=True)
    return joined.assign(**{name: pd.to_datetime(joined[name], utc=True) for name in ("origin", "time")})


def _naive_mae(data: WindowedSeries) -> float:
    """Mean |close_{t+1} − close_t| over the training rows: MASE's scale (Hyndman & Koehler 2006), in price units."""
    return float(np.nanmean(np.abs(np.diff(data.close[: data.split.train_rows]))))


def _span(timestamps: pd.Series[pd.Timestamp], origins: Any) -> dict[str, str | int]:
    return {
        "first": _iso(timestamps.iloc[origins[0]]),
        "last": _iso(timestamps.iloc[origins[-1]]),
        "windows": len(origins),
    }


def _iso(timestamp: pd.Timestamp) -> str:
    return timestamp.isoformat()


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False)


def _write_parquet(path: Path, frame: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        frame.to_parquet(temporary, compression="zstd", index=False)
