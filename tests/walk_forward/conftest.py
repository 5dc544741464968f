"""A small walk-forward, and one Dask cluster for all tests that don't kill their own."""

import pytest
from walk_forward_params import PARAMS

from carrossel.walk_forward.plan import read_plan
from carrossel.walk_forward.running import walk_forward
from carrossel.workers import open_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    with open_cluster(2, tmp_path_factory.mktemp("dask"), "walk_forward") as cluster:
        yield cluster


@pytest.fixture
def params(cluster):
    """Sections of params.yaml, some keys changed: `params(walk_forward={"seeds": 1})`; tasks run on the tests' cluster."""

    def changed(**sections):
        merged = {name: {**PARAMS[name], **sections.get(name, {})} for name in PARAMS}
        merged["walk_forward"].setdefault("scheduler", cluster.scheduler_address)
        return merged

    return changed


@pytest.fixture
def walk(tmp_path):
    """Runs a walk-forward below the test's folder and returns its table's path."""

    def run(bars, params, folder="one", sha="hash"):
        root = tmp_path / folder
        table = root / "table.parquet"
        walk_forward(bars, read_plan("walk", params), data_sha256=sha, scratch=root / "parts", table=table)
        return table

    return run
