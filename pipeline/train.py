"""train@D-C: fit one cell on one dataset; leaves models/D/C/."""

from __future__ import annotations

import sys

from carrossel.bars.store import read_bars
from carrossel.config import load_params, project_root
from carrossel.files import sha256
from carrossel.stage import run
from carrossel.tracking.mlflow_recorder import open_run
from carrossel.tracking.relog import log_model_folder
from carrossel.training.config import read_recipe
from carrossel.training.session import train


def fit(dataset: str, cell: str) -> None:
    """Read sections cells.C, windows, target and training; write the model folder."""
    root = project_root()
    recipe = read_recipe(dataset, cell, load_params())
    path = root / "data" / "bars" / f"{dataset}.parquet"
    train(
        read_bars(path),
        recipe,
        data_sha256=sha256(path),
        folder=root / "models" / dataset / cell,
        checkpoints=root / ".carrossel" / "checkpoints",
        open_run=open_run,
        finish=log_model_folder,
    )


if __name__ == "__main__":
    run(fit, *sys.argv[1:], name="train@" + "-".join(sys.argv[1:]))
