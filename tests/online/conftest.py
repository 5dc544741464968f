from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
from matplotlib.figure import Figure

from champions import make_trending_bars

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from carrossel.tracking.store import Store

# What MLflow's own modules warn of: a loader strategy that SQLAlchemy deprecates, type hints.
MLFLOW_NOISE = [
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
    "ignore:.*type hint:UserWarning",
]


@pytest.fixture(scope="session")
def bars() -> pd.DataFrame:
    return make_trending_bars()


@pytest.fixture(scope="session")
def registry_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("registry")
    (root / "params.yaml").write_text("online: {gate: {rows: 300}}\n")
    return root


@pytest.fixture(scope="session")
def registry_store(registry_root: Path) -> Store:
    """One MLflow store for all tests, since its tables take seconds to make: each test has a dataset of its own."""
    from carrossel.tracking.config import Tracking
    from carrossel.tracking.store import open_tracking

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # marks don't reach fixtures of the session
        return open_tracking(Tracking(), registry_root)


@pytest.fixture
def registry(registry_store: Store, registry_root: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store of all tests, its folder being the project's; figures aren't drawn."""
    for name in ("MLFLOW_TRACKING_URI", "CARROSSEL_TRACKING_ROOT", "CARROSSEL_STORE", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CARROSSEL_ROOT", str(registry_root))
    monkeypatch.setattr("carrossel.tracking.relog.draw_figures", lambda folder, manifest: {"empty": Figure((1, 1))})
    return registry_store
