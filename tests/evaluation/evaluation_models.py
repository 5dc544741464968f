"""What a training leaves, small enough to score by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

LAST_CLOSE = [10.0, 12.0, 11.0, 11.0]
TRUTH = [12.0, 11.0, 11.0, 14.0]

ROWS = 60
"""Rows that a test against persistence can be sure of."""


def make_manifest(name: str, **changes: Any) -> dict[str, Any]:
    span = {"first": "2020-01-01T00:00:00+00:00", "last": "2020-01-04T00:00:00+00:00", "windows": 4}
    return {
        "dataset": "toy",
        "competitor": name,
        "cell": {"kind": name, "config": {"hidden_size": 2}},
        "windows": {"lookback": 3, "horizon": 1, "features": ["log_return"]},
        "target": {"kind": "log_return"},
        "unit": "price",
        "training": {"seed": 1, "epochs": 2},
        "parameters": 7,
        "best_epoch": 1,
        "data_sha256": "ab" * 32,
        "code_revision": "c0de",
        "split": {"train": span, "validation": span, "test": span},
        "train_mae_naive": 2.0,
        **changes,
    }


def make_forecasts(
    validation: Sequence[float],
    test: Sequence[float],
    truth: Sequence[float] = TRUTH,
    unchanged: Sequence[float] = LAST_CLOSE,
    horizon: int = 1,
    quantiles: Mapping[str, Sequence[float]] | None = None,
) -> pd.DataFrame:
    days = pd.date_range("2020-01-01", periods=len(truth) + horizon, tz="UTC").as_unit("ns")
    parts = [
        pd.DataFrame(
            {
                "split": split,
                "origin": days[:-horizon],
                "time": days[horizon:],
                "horizon": horizon,
                "last_close": 10.0,
                "unchanged": unchanged,
                "truth": truth,
                "forecast": forecast,
                **(quantiles or {}),
            }
        )
        for split, forecast in (("validation", validation), ("test", test))
    ]
    return pd.concat(parts, ignore_index=True)


def make_moves(unit: str = "price") -> tuple[list[float], list[float]]:
    """Truth and persistence's forecast of `ROWS` rows that move at random, the same in every call."""
    rng = np.random.default_rng(1)
    if unit == "probability":
        return rng.integers(0, 2, ROWS).astype(float).tolist(), [0.5] * ROWS
    level = 100 + rng.normal(0, 1, ROWS + 1).cumsum()
    return level[1:].tolist(), level[:-1].tolist()


def make_forecasts_that_know(share: float, unit: str = "price", **changes: Any) -> pd.DataFrame:
    """Forecasts that take that share of each true change from persistence: skill 1 − (1 − share)²."""
    truth, unchanged = make_moves(unit)
    forecast = [last + share * (true - last) for true, last in zip(truth, unchanged, strict=True)]
    return make_forecasts(forecast, forecast, truth, unchanged, **changes)


def make_walk_forward(
    shares: Mapping[str, Mapping[int, float]], unit: str = "price", horizon: int = 1, folds: int = 3
) -> pd.DataFrame:
    """Rows of a walk-forward: each model's seed takes that share of each true change from persistence."""
    parts = []
    for model, seeds in shares.items():
        for seed, share in seeds.items():
            rows = make_forecasts_that_know(share, unit, horizon=horizon)
            rows = rows[rows["split"] == "test"].drop(columns="split").reset_index(drop=True)
            fold = np.arange(ROWS) * folds // ROWS
            parts.append(rows.assign(dataset="toy", model=model, seed=seed, fold=fold))
    return pd.concat(parts, ignore_index=True)


def competitor_writer(root: Path) -> Callable[..., Path]:
    """Write models/D/C; by default it forecasts half the true change on validation and persistence plus 1 on test."""

    def write(name: str, forecasts: pd.DataFrame | None = None, *, dataset: str = "toy", **changes: Any) -> Path:
        folder = root / "models" / dataset / name
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


def baseline_writer(root: Path) -> Callable[..., Path]:
    """Write models/D/baselines/B: a manifest without cell and the forecasts, no weights."""

    def write(name: str, forecasts: pd.DataFrame, *, dataset: str = "toy", **changes: Any) -> Path:
        folder = root / "models" / dataset / "baselines" / name
        folder.mkdir(parents=True)
        manifest = make_manifest(name, dataset=dataset, baseline={"kind": name, "config": {"lags": 2}}, **changes)
        for key in ("cell", "training", "parameters", "best_epoch"):
            del manifest[key]
        (folder / "manifest.json").write_text(json.dumps(manifest))
        forecasts.to_parquet(folder / "forecasts.parquet", index=False)
        return folder

    return write
