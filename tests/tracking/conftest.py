from __future__ import annotations

import json
import shutil
import sqlite3
import warnings
from contextlib import closing
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from matplotlib.figure import Figure

from carrossel.tracking.config import Tracking
from carrossel.tracking.store import Store, open_tracking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# MLflow's own: SQLAlchemy 2.1 deprecates a loader strategy it uses, and connections in its pools live as long as Python.
NOISE = [
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
    "ignore:unclosed database in <sqlite3.Connection:ResourceWarning",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/tracking/" in item.path.as_posix():
            for noise in NOISE:
                item.add_marker(pytest.mark.filterwarnings(noise))


@pytest.fixture(autouse=True)
def _own_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CARROSSEL_ROOT", str(tmp_path))
    monkeypatch.delenv("CARROSSEL_TRACKING_ROOT", raising=False)
    (tmp_path / "params.yaml").write_text("seed: 1\n")


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables take seconds to make: once for all tests."""
    root = tmp_path_factory.mktemp("fresh")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own; marks don't reach fixtures of the session
        open_tracking(Tracking(), root)
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the file alone is copied
    return root / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, fresh_database: Path) -> Store:
    shutil.copyfile(fresh_database, tmp_path / "mlflow.db")
    return open_tracking(Tracking(), tmp_path)


def write_model_folder(root: Path, competitor: str = "lstm", dataset: str = "bitcoin", seed: int = 1) -> Path:
    """A model folder as docs/architecture.md has it; its weights are bytes that nobody loads."""
    folder = root / "models" / dataset / competitor
    folder.mkdir(parents=True)
    manifest = {
        "dataset": dataset,
        "competitor": competitor,
        "cell": {"kind": "lstm", "config": {"hidden_size": 3, "layers": 1}},
        "windows": {"lookback": 4, "features": ["log_return"]},
        "target": {"kind": "log_return"},
        "head": {"kind": "point"},
        "unit": "price",
        "training": {"epochs": 2, "seed": seed},
        "parameters": 17,
        "data_sha256": "d" * 64,
        "code_revision": "0123abc-dirty",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "model.safetensors").write_bytes(b"weights")
    start = pd.date_range("2019-01-01", periods=12, freq="1h", tz="UTC")
    close = [100.0 + n for n in range(12)]
    pd.DataFrame(
        {
            "split": ["validation"] * 4 + ["test"] * 8,
            "origin": start,
            "time": start + pd.Timedelta("1h"),
            "horizon": 1,
            "last_close": close,
            "unchanged": close,
            "truth": [price + 1 for price in close],
            "forecast": [price + 0.5 for price in close],
        }
    ).to_parquet(folder / "forecasts.parquet", index=False)
    # a third has no short decimal: it must come back to the last bit
    (folder / "history.csv").write_text(
        f"epoch,train_loss,validation_loss,learning_rate,seconds\n0,{1 / 3},0.75,0.1,2.5\n1,0.25,0.5,0.1,2.25\n"
    )
    (folder / "gradient_by_lag.csv").write_text(
        "epoch,layer,lag,h,c\n0,0,0,1.0,1.0\n0,0,1,0.5,0.5\n1,0,0,1.0,1.0\n1,0,1,0.25,0.25\n"
    )
    (folder / "tensors.csv").write_text("epoch,tensor,gradient_norm,update_ratio\n0,w,1.0,0.1\n1,w,0.5,0.05\n")
    (folder / "spectrum.csv").write_text(
        "epoch,layer,gate,spectral_radius,largest_singular_value\n0,0,input,0.9,1.1\n1,0,input,0.8,1.0\n"
    )
    return folder


def write_baseline_folder(root: Path, kind: str = "har", dataset: str = "bitcoin") -> Path:
    """A baseline's folder: the forecasts of a network's, a manifest without a cell, and neither weights nor epochs."""
    folder = write_model_folder(root, kind, dataset)
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("cell", "head", "training", "parameters"):
        del manifest[name]
    (folder / "manifest.json").write_text(json.dumps({**manifest, "baseline": {"kind": kind, "config": {}}}))
    for file in folder.iterdir():
        if file.name not in {"manifest.json", "forecasts.parquet"}:
            file.unlink()
    return folder


def evaluation(dataset: str = "bitcoin", **skills: tuple[float, float]) -> dict[str, object]:
    """An evaluation with given (validation, test) skills, and a persistence row; who has skill on test beats persistence."""

    def row(skill: float) -> dict[str, float]:
        return {"rmse": 1 - skill / 2, "skill": skill}

    return {
        "dataset": dataset,
        "rows": {
            part: {"persistence": row(0.0), **{name: row(pair[n]) for name, pair in skills.items()}}
            for n, part in enumerate(("validation", "test"))
        },
        "judgements": {
            name: {"verdict": "beats persistence", "p": 0.0005, "p_corrected": 0.001}
            if pair[1] > 0
            else {"verdict": "no evidence of skill", "p": 0.25, "p_corrected": 0.5}
            for name, pair in skills.items()
        },
    }


@pytest.fixture
def plain_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of a run's time: an empty figure for tests that don't look at figures."""
    monkeypatch.setattr("carrossel.tracking.relog.draw_figures", lambda folder, manifest: {"empty": Figure((1, 1))})


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return write_model_folder(tmp_path)


@pytest.fixture
def make_model_folder(tmp_path: Path) -> Callable[..., Path]:
    return lambda *args, **kwargs: write_model_folder(tmp_path, *args, **kwargs)


@pytest.fixture
def make_baseline_folder(tmp_path: Path) -> Callable[..., Path]:
    return lambda *args, **kwargs: write_baseline_folder(tmp_path, *args, **kwargs)


@pytest.fixture
def make_evaluation() -> Callable[..., dict[str, object]]:
    return evaluation
