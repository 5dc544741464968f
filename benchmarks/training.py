"""Windows per second of the whole Lightning path beside a bare PyTorch loop on the same data, in the same run.

    python benchmarks/training.py [--quick]

Both train the same network with the same optimiser, clipping and gathering of windows. The Lightning path is what `train` runs:
callbacks, logging, gradient sampling and checkpoint included; the first chunk of eight minibatches is left out on both sides.
Goal: at most 10 % more time a step.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch.nn.utils import clip_grad_norm_

from carrossel import cells
from carrossel.forecaster.heads.base import HeadConfig
from carrossel.forecaster.module import MINIBATCHES_PER_CHUNK
from carrossel.forecaster.network import Network
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import TargetConfig, make_target
from carrossel.training.config import Recipe, Training
from carrossel.training.fitting import fit
from carrossel.windows.config import Windows
from carrossel.windows.tensor import WindowedSeries, window_series

ROWS, BATCH, HIDDEN = 500_000, 256, 32
GOAL = 1.10
HEAD, TARGET = HeadConfig(kind="point"), TargetConfig(kind="log_return")
WINDOWS = Windows(lookback=60, features=("log_return", "log_range", "log_volume_change", "close", "volume"))


class StepTimer(pl.Callback):
    """Seconds from the end of the first chunk, which pays for what is set up once, to the end of the last."""

    def __init__(self) -> None:
        self.start = self.end = 0.0

    def on_train_batch_end(self, *_: object) -> None:
        self.end = time.perf_counter()
        self.start = self.start or self.end


def synthetic_series() -> WindowedSeries:
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, ROWS)))
    bars = pd.DataFrame(
        {
            "timestamp": pd.date_range("2020-01-01", periods=ROWS, freq="min", tz="UTC"),
            "open": close,
            "high": close * 1.001,
            "low": close * 0.999,
            "close": close,
            "volume": rng.lognormal(size=ROWS),
        }
    )
    return window_series(bars, WINDOWS, make_target(TARGET))


def shorten(data: WindowedSeries, steps: int) -> WindowedSeries:
    """The same series with as many training windows as `steps` minibatches take, and few to validate on."""
    split = data.split
    short = type(split)(split.train[: steps * BATCH], split.validation[:BATCH], split.test[:BATCH], split.train_rows)
    return replace(data, split=short)


def bare_loop(data: WindowedSeries, recipe: Recipe) -> float:
    """Seconds of one epoch without Lightning, after as many minibatches as Lightning's first chunk has."""
    network = Network(recipe.kind, recipe.cell, data.series.shape[1], seed=1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    window = torch.arange(1 - data.lookback, 1)
    origins = torch.from_numpy(data.split.train)
    start = 0.0
    order = torch.randperm(len(origins), generator=torch.Generator().manual_seed(1))
    for number, batch in enumerate(origins[order].split(BATCH)):
        if number == MINIBATCHES_PER_CHUNK:
            start = time.perf_counter()
        loss = network.head.loss(network(data.series[batch[:, None] + window]), data.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - start


def lightning_path(data: WindowedSeries, recipe: Recipe) -> float:
    """Seconds of one epoch as `train` runs it."""
    timer = StepTimer()
    with tempfile.TemporaryDirectory() as folder:
        fit(data, recipe, MemoryRecorder(), name="benchmark", checkpoints=Path(folder), callbacks=[timer])
    return timer.end - timer.start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps and repeats, under 50 s")
    quick = parser.parse_args().quick
    warnings.filterwarnings("ignore", category=UserWarning)
    torch.set_num_threads(1)  # what `train` takes by default
    whole = synthetic_series()
    print(
        f"{ROWS:,} rows, B={BATCH}, H={HIDDEN}, lookback={WINDOWS.lookback}, 5 features, {torch.get_num_threads()} threads"
    )
    print(f"{'cell':8} {'bare windows/s':>15} {'Lightning':>11} {'time ratio':>11}")
    worst = 0.0
    for kind, steps in (("lstm", 96 if quick else 240), ("gru", 96 if quick else 240)):
        data = shorten(whole, steps)
        cell = cells.registry.load(kind).Config(hidden_size=HIDDEN)
        training = Training(epochs=1, batch_size=BATCH, learning_rate=1e-3)
        recipe = Recipe("benchmark", kind, kind, cell, WINDOWS, TARGET, HEAD, training)
        bare_loop(shorten(whole, 16), recipe)
        pairs = []
        for turn in range(5 if quick else 7):
            if turn % 2:  # each goes first in turn: the machine may speed up or slow down
                lightning = lightning_path(data, recipe)
                pairs.append((bare_loop(data, recipe), lightning))
            else:
                pairs.append((bare_loop(data, recipe), lightning_path(data, recipe)))
        ratio = statistics.median(lightning / bare for bare, lightning in pairs)
        bare, lightning = (statistics.median(column) for column in zip(*pairs, strict=True))
        windows = len(data.split.train) - BATCH * MINIBATCHES_PER_CHUNK
        print(f"{kind:8} {windows / bare:15,.0f} {windows / lightning:11,.0f} {ratio:11.3f}")
        worst = max(worst, ratio)
    print(f"training: {worst:.3f} × the bare loop's time a step (at most {GOAL:.2f})")
    return int(worst > GOAL)


if __name__ == "__main__":
    sys.exit(main())
