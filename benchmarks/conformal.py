"""Do 90 % intervals hold 90 % of what comes? Conformal intervals on the walk-forward of the embedded bitcoin data.

    python benchmarks/conformal.py [--quick] [--write]

The walk-forward of params.yaml for datasets bitcoin and bitcoin_volatility, in a temporary folder: each model's forecasts, averaged
over seeds, get split and adaptive conformal intervals that know only errors already seen (Gibbs & Candès 2021).
Goal: the adaptive intervals' coverage of every model, pooled over all folds, lies within 88 and 92 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pandas as pd
from reporting import Report

from carrossel.bars.config import Dataset, Repair
from carrossel.bars.preparation import prepare
from carrossel.bars.sources.base import open_source
from carrossel.config import load_params, project_root, validate
from carrossel.evaluation.walk_forward.results import NOMINAL, judge_walk_forward
from carrossel.evaluation.walk_forward.rows import read_walk_forward
from carrossel.targets.base import make_target
from carrossel.walk_forward.plan import read_plan
from carrossel.walk_forward.running import walk_forward

DATASETS = ("bitcoin", "bitcoin_volatility")
LOWEST, HIGHEST = 0.88, 0.92


def walk(name: str, params: dict, folder: Path) -> dict:
    """Run a dataset's walk-forward and judge it."""
    dataset = validate(params["datasets"][name], Dataset, f"datasets.{name}")
    raw = open_source(dataset.source, project_root(), dataset.interval).fetch()
    bars = prepare(raw, dataset, Repair(), name=name, now=pd.Timestamp.now("UTC")).bars
    plan = read_plan(name, params)
    table = folder / f"{name}.parquet"
    with redirect_stdout(StringIO()):
        walk_forward(bars, plan, data_sha256="embedded", scratch=folder / name, table=table)
    return judge_walk_forward(read_walk_forward(table), make_target(plan.target).unit)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, two models, one epoch: under 50 s")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/conformal.md")
    options = parser.parse_args()
    params = load_params(Path(__file__).resolve().parents[1] / "params.yaml")
    if options.quick:
        params["walk_forward"] |= {"models": ["gru", "linear"], "seeds": 1, "epochs": 1}
    say = Report("conformal", "torch", "scikit-learn", "distributed")
    say(f"{'dataset':20} {'model':8} {'rows':>6} {'split':>7} {'adaptive':>9}   adaptive, by fold")
    pooled = []
    with tempfile.TemporaryDirectory() as folder:
        for name in DATASETS:
            found = walk(name, params, Path(folder))
            for model, judged in found["models"].items():
                split, adaptive = (judged["conformal"][kind] for kind in ("split", "adaptive"))
                pooled.append(adaptive["coverage"])
                folds = " ".join(f"{share:.1%}" for share in adaptive["by_fold"].values())
                say(
                    f"{name:20} {model:8} {found['n']:6} {split['coverage']:7.1%} {adaptive['coverage']:9.1%}   {folds}"
                )
    say(
        f"conformal: {100 * min(pooled):.1f} to {100 * max(pooled):.1f} % of a nominal {100 * NOMINAL:.0f} % "
        f"(within {100 * LOWEST:.0f} and {100 * HIGHEST:.0f} %)"
    )
    if options.write:
        say.write()
    return int(not (min(pooled) >= LOWEST and max(pooled) <= HIGHEST))


if __name__ == "__main__":
    sys.exit(main())
