"""baselines@D: fit every baseline on the windows that the cells train on; leaves models/D/baselines/<name>/."""

from __future__ import annotations

import sys

from carrossel.bars.store import read_bars
from carrossel.baselines.base import read_baselines
from carrossel.baselines.outputs import write_baselines
from carrossel.config import load_params, lookup, project_root
from carrossel.files import sha256
from carrossel.revision import code_revision
from carrossel.stage import run
from carrossel.targets.base import make_target
from carrossel.windows.question import read_question
from carrossel.windows.tensor import window_series


def fit(dataset: str) -> None:
    """Read sections baselines, windows and target, and the seed of training; write the folders."""
    root, params = project_root(), load_params()
    question = read_question(dataset, params)
    path = root / "data" / "bars" / f"{dataset}.parquet"
    data = window_series(read_bars(path), question.windows, make_target(question.target), dataset)
    write_baselines(
        root / "models" / dataset / "baselines",
        read_baselines(params),
        data,
        question,
        dataset=dataset,
        seed=lookup("training.seed", params),
        provenance={"data_sha256": sha256(path), "code_revision": code_revision()},
    )


if __name__ == "__main__":
    run(fit, *sys.argv[1:], name="@".join(["baselines", *sys.argv[1:]]))
