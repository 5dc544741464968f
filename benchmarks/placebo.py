"""How often the pipeline finds skill where there is none, and whether it sees through an echo and a leak.

    python benchmarks/placebo.py [--quick] [--write]

Seeded random walks go through what `make repro` runs: source, prepare, windows, training of two cells, baselines, evaluation with
its tests and corrections. On a random walk nothing beats 'tomorrow = today', so each walk on which the chosen network, or any
competitor at all, gets the verdict 'beats persistence' is a false alarm. On each walk two copycats are planted among the forecasts,
yesterday's price as it is and with noise, and must be called echoes; and a feature that looks one bar ahead is planted among
the pipeline's own and must be named by the probe, it alone.
Goals: the chosen network has at most 1 false alarm in 20 walks, so has the whole field; every copycat and every leak is found.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from reporting import Report

from carrossel.bars.config import Dataset, Repair
from carrossel.bars.preparation import prepare
from carrossel.bars.sources.base import open_source
from carrossel.baselines.base import make_baseline
from carrossel.config import project_root, validate
from carrossel.evaluation.judgement import judge
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import make_target
from carrossel.training.config import read_recipe
from carrossel.training.fitting import fit
from carrossel.training.outputs import store
from carrossel.windows.features import feature
from carrossel.windows.forecast_rows import forecast_rows
from carrossel.windows.leak_probe import probe_features
from carrossel.windows.tensor import WindowedSeries, window_series

WALKS, QUICK_WALKS, ROWS = 20, 4, 4000
CELLS = ("lstm", "gru")
BASELINES = ("drift", "seasonal_naive", "ar", "linear", "tree", "knn", "kmeans_regimes", "rbf")
PARAMS = {
    "windows": {"lookback": 24, "features": ["log_return", "log_range", "log_volume_change"]},
    "target": {"kind": "log_return"},
    "head": {"kind": "point"},
    "cells": {kind: {"hidden_size": 16} for kind in CELLS},
    "training": {"epochs": 4, "learning_rate": 0.003},
}


def walk(seed: int) -> tuple[pd.DataFrame, dict[str, object]]:
    """Canonical bars of a random walk, and the params that describe it."""
    source = {"kind": "synthetic", "process": "random_walk", "seed": seed, "length": ROWS}
    dataset = validate({"source": source, "interval": "1h"}, Dataset, "datasets.walk")
    raw = open_source(dataset.source, project_root(), dataset.interval).fetch()
    prepared = prepare(raw, dataset, Repair(), name="walk", now=pd.Timestamp("2026-01-01", tz="UTC"))
    return prepared.bars, {**PARAMS, "datasets": {"walk": {"source": source}}}


def compete(bars: pd.DataFrame, params: dict[str, object], seed: int) -> tuple[dict[str, pd.DataFrame], str]:
    """Test rows of every competitor, and the network chosen on validation."""
    found, validation = {}, {}
    for kind in CELLS:
        recipe = read_recipe("walk", kind, {**params, "training": {**params["training"], "seed": seed}})
        data = window_series(bars, recipe.windows, make_target(recipe.target), "walk")
        done = fit(data, recipe, MemoryRecorder(), name=kind, quiet=True)
        stored = store(done, data, recipe, {})
        found[kind] = rows(
            data, stored.forecast(data.series, data.split.test, data.bars["close"][data.split.test]).point
        )
        validation[kind] = done.validation_loss
    for kind in BASELINES:
        baseline = make_baseline(kind, seed=seed)
        baseline.fit(data)
        found[kind] = rows(data, data.report(baseline.forecast(data, data.split.test), data.split.test))
    return found, min(validation, key=validation.__getitem__)


def rows(data: WindowedSeries, forecast: np.ndarray) -> pd.DataFrame:
    return forecast_rows(data, data.split.test, forecast)


def plant_copycats(part: pd.DataFrame, seed: int) -> dict[str, pd.DataFrame]:
    """The last price, as it is and with noise of a third of the usual change: what a network trained on price levels does."""
    noise = np.random.default_rng(seed).normal(0, 1 / 3, len(part)) * (part["truth"] - part["unchanged"]).std()
    return {
        "exact": part.assign(forecast=part["unchanged"]),
        "noisy": part.assign(forecast=part["unchanged"] + noise),
    }


@feature
def next_return(bars: pd.DataFrame) -> np.ndarray:
    """The planted leak: the return of the bar after."""
    return np.log(bars["close"]).diff().shift(-1).to_numpy()


def finds_the_leak(bars: pd.DataFrame) -> bool:
    """Whether the probe names the planted feature, and no other."""
    leaks = probe_features(bars, (*PARAMS["windows"]["features"], "next_return"), [len(bars) // 2])
    return bool(leaks) and all("next_return" in leak.what for leak in leaks)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_WALKS} walks, under 50 s")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/placebo.md")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    torch.set_num_threads(1)
    walks = QUICK_WALKS if options.quick else WALKS
    say = Report("placebo", "torch", "statsmodels", "arch", "scikit-learn")
    say(
        f"{'walk':>4} {'chosen':>7} {'skill':>9} {'p':>7} {'corrected':>9}  {'verdict':20} {'beats, in the field':20} echo  leak"
    )
    alarms = field_alarms = missed = 0
    started = time.perf_counter()
    for seed in range(1, walks + 1):
        bars, params = walk(seed)
        found, chosen = compete(bars, params, seed)
        judged = judge(found, "price", 1)
        winners = [name for name, verdict in judged.items() if verdict.verdict == "beats persistence"]
        copycats = judge(plant_copycats(found[chosen], seed), "price", 1).values()
        echoes = sum(copycat.verdict == "echo" for copycat in copycats)
        leak = finds_the_leak(bars)
        alarms += chosen in winners
        field_alarms += bool(winners)
        missed += (2 - echoes) + (not leak)
        mine = judged[chosen]
        say(
            f"{seed:4} {chosen:>7} {100 * mine.skill:+8.2f}% {mine.p:7.3f} {mine.p_corrected:9.3f}  {mine.verdict:20} "
            f"{', '.join(winners) or 'none':20} {echoes} of 2 {'found' if leak else 'MISSED'}"
        )
    allowed = max(1, walks // 20)
    say(
        f"{walks} walks of {ROWS:,} bars, {len(CELLS) + len(BASELINES)} competitors each, {time.perf_counter() - started:.0f} s"
    )
    say(
        f"placebo: {alarms} false alarms of the chosen network, {field_alarms} of the whole field in {walks} walks, {missed} "
        f"echoes or leaks missed (at most {allowed}, {allowed} and 0)"
    )
    if options.write:
        say.write()
    return int(alarms > allowed or field_alarms > allowed or missed > 0)


if __name__ == "__main__":
    sys.exit(main())
