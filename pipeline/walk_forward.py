"""Stage walk_forward@D: refit models fold by fold on dataset D; leaves reports/walk_forward/D.parquet."""

from __future__ import annotations

import sys

from carrossel.bars.store import read_bars
from carrossel.config import load_params, project_root
from carrossel.files import sha256
from carrossel.stage import run
from carrossel.walk_forward.plan import read_plan
from carrossel.walk_forward.running import walk_forward


def walk(dataset: str) -> None:
    """Read sections walk_forward, cells, baselines, windows, target, head and training; write every fold's forecasts."""
    root = project_root()
    plan = read_plan(dataset, load_params())
    path = root / "data" / "bars" / f"{dataset}.parquet"
    walk_forward(
        read_bars(path),
        plan,
        data_sha256=sha256(path),
        scratch=root / ".carrossel" / "walk_forward" / dataset,
        table=root / "reports" / "walk_forward" / f"{dataset}.parquet",
    )


if __name__ == "__main__":
    run(walk, *sys.argv[1:], name="@".join(["walk_forward", *sys.argv[1:]]))
