"""Stage evaluate@D: scores of every trained competitor beside persistence."""

from __future__ import annotations

import sys

from carrossel.config import load_params, lookup, project_root
from carrossel.evaluation.competitors import read_competitors
from carrossel.evaluation.scoring import evaluate, tabulate
from carrossel.evaluation.walk_forward.rows import read_walk_forward
from carrossel.files import replacing, write_json
from carrossel.stage import run


def score(dataset: str) -> None:
    root = project_root()
    params = load_params()
    names = {*lookup("cells", params), "tuned", *(params.get("baselines") or {})}
    walk = root / "reports" / "walk_forward" / f"{dataset}.parquet"
    evaluation = evaluate(
        dataset,
        read_competitors(root / "models" / dataset, names, print),
        read_walk_forward(walk) if walk.is_file() else None,
    )
    folder = root / "reports" / "evaluation"
    with replacing(folder / f"{dataset}.csv") as temporary:
        tabulate(evaluation).to_csv(temporary, index=False)
    write_json(folder / f"{dataset}.json", evaluation)
    print(evaluation["verdict"])
    print(evaluation["registration"])


if __name__ == "__main__":
    run(score, *sys.argv[1:], name="@".join(["evaluate", *sys.argv[1:]]))
