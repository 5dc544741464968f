"""tune@D: a study of one cell, then a full training of its best configuration; leaves models/D/tuned/ and reports/studies/D.csv."""

from __future__ import annotations

import sys

from carrossel.bars.store import read_bars
from carrossel.config import load_params, project_root, read
from carrossel.files import replacing, sha256
from carrossel.stage import run
from carrossel.tracking.mlflow_recorder import open_run
from carrossel.tracking.relog import log_model_folder
from carrossel.training.config import read_recipe
from carrossel.training.session import train
from carrossel.tuning.config import Tuning
from carrossel.tuning.study import open_study, run_study, trials_table


def tune(dataset: str) -> None:
    """Read sections tuning, cells.<tuned>, windows, target and training; run what the study lacks, then train."""
    root = project_root()
    config = read("tuning", Tuning)
    recipe = read_recipe(dataset, config.cell, load_params(), competitor="tuned")
    path = root / "data" / "bars" / f"{dataset}.parquet"
    bars, data_sha256 = read_bars(path), sha256(path)
    study = open_study(root / ".carrossel" / "studies.db", recipe, config, data_sha256)
    best = run_study(study, bars, recipe, config, data_sha256=data_sha256, open_run=open_run)
    train(
        bars,
        best,
        data_sha256=data_sha256,
        folder=root / "models" / dataset / "tuned",
        checkpoints=root / ".carrossel" / "checkpoints",
        open_run=open_run,
        finish=log_model_folder,
    )
    with replacing(root / "reports" / "studies" / f"{dataset}.csv") as temporary:
        trials_table(study).to_csv(temporary, index=False)


if __name__ == "__main__":
    run(tune, *sys.argv[1:], name="@".join(["tune", *sys.argv[1:]]))
