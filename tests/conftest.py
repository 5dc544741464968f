"""Shared by all tests: small bars, a project folder, one thread."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
ROOT = Path(__file__).resolve().parents[1]


def make_bars(rows: int, seed: int = 0, missing: tuple[int, ...] = ()) -> pd.DataFrame:
    """Canonical hourly bars of a geometric random walk; rows in `missing` are holes."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    bars = pd.DataFrame(
        {
            "timestamp": pd.date_range("2020-01-01", periods=rows, freq="h", tz="UTC", unit="ns"),
            "open": close * 1.001,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "volume": rng.uniform(1, 9, rows),
            "status": "observed",
        }
    )
    bars.loc[list(missing), ["open", "high", "low", "close", "volume"]] = np.nan
    bars.loc[list(missing), "status"] = "missing"
    return bars


@pytest.fixture(name="make_bars")
def _make_bars():
    return make_bars


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project: params.yaml and pipeline/ of this one, outputs and runs in a temporary folder."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("CARROSSEL_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path
