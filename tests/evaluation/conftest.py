"""Model folders as a training leaves them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from evaluation_models import make_forecasts, make_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def write_competitor(tmp_path: Path) -> Callable[..., Path]:
    """Write models/D/C; by default it forecasts half the true change on validation and persistence plus 1 on test."""

    def write(name: str, forecasts: pd.DataFrame | None = None, *, dataset: str = "toy", **changes: Any) -> Path:
        folder = tmp_path / "models" / dataset / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps(make_manifest(name, dataset=dataset, **changes)))
        if forecasts is None:
            forecasts = make_forecasts([11.0, 11.5, 11.0, 12.5], [11.0, 13.0, 12.0, 12.0])
        forecasts.to_parquet(folder / "forecasts.parquet", index=False)
        pd.DataFrame({"epoch": [0, 1], "train_loss": [1.0, 0.5], "validation_loss": [1.5, 1.25]}).to_csv(
            folder / "history.csv", index=False
        )
        lags = np.arange(3)
        pd.concat(
            pd.DataFrame(
                {"epoch": e, "layer": layer, "lag": lags, "h": 10.0**-lags * (1 + e + 10 * layer), "c": np.nan}
            )
            for e in (0, 1)
            for layer in (0, 1)
        ).to_csv(folder / "gradient_by_lag.csv", index=False)
        return folder

    return write


@pytest.fixture
def write_baseline(tmp_path: Path) -> Callable[..., Path]:
    """Write models/D/baselines/B: a manifest without cell and the forecasts, no weights."""

    def write(name: str, forecasts: pd.DataFrame, *, dataset: str = "toy", **changes: Any) -> Path:
        folder = tmp_path / "models" / dataset / "baselines" / name
        folder.mkdir(parents=True)
        manifest = make_manifest(name, dataset=dataset, baseline={"kind": name, "config": {"lags": 2}}, **changes)
        for key in ("cell", "training", "parameters", "best_epoch"):
            del manifest[key]
        (folder / "manifest.json").write_text(json.dumps(manifest))
        forecasts.to_parquet(folder / "forecasts.parquet", index=False)
        return folder

    return write
