"""Shared by all tests: small bars, a project folder, one thread."""

import os
import shutil
from pathlib import Path

import pytest

from walks import make_bars

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
ROOT = Path(__file__).resolve().parents[1]


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
