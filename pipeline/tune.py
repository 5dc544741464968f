"""tune@D: a study, a full training of its best configuration, and the test part's verdict on it."""

from __future__ import annotations

import sys

from carrossel.bars.store import read_bars
from carrossel.config import load_params, project_root
from carrossel.files import sha256
from carrossel.stage import run
from carrossel.tracking.relog import log_model_folder
from carrossel.tracking.session import Session
from carrossel.training.session import train
from carrossel.tuning.progress import make_progress
from carrossel.tuning.publishing import publish
from carrossel.tuning.study import best_recipe, read_plan, run_study
from carrossel.tuning.verdict import compare_best


def tune(dataset: str) -> None:
    """Read section tuning and the recipe it starts from; run what the study lacks, train its best, judge it, report."""
    root = project_root()
    path = root / "data" / "bars" / f"{dataset}.parquet"
    bars, data_sha256 = read_bars(path), sha256(path)
    open_run = Session()
    plan = read_plan(dataset, load_params(), data_sha256)
    with make_progress() as progress:
        study = run_study(plan, bars, root, open_run=open_run, progress=progress)
    best = best_recipe(study, plan)
    folder = root / "models" / dataset / "tuned"
    train(
        bars,
        best,
        data_sha256=data_sha256,
        folder=folder,
        checkpoints=root / ".carrossel" / "checkpoints",
        open_run=open_run,
        finish=log_model_folder,
    )
    verdict = compare_best(bars, best, plan.recipe, folder, plan.config.space)
    publish(study, root / "reports" / "studies" / dataset, verdict, open_run)
    print(f"tune@{dataset}: {verdict['sentence']}")


if __name__ == "__main__":
    run(tune, *sys.argv[1:], name="@".join(["tune", *sys.argv[1:]]))
