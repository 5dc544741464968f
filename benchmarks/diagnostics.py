"""What diagnostics cost: an epoch of each cell with the default set (D1, D2, D5, D6, D7, D8) beside one without.

    python benchmarks/diagnostics.py [--quick] [--write] [--data BARS.parquet] [--cells lstm,gru]

The recipe of params.yaml on the embedded bitcoin bars: 32 units, 48 bars, minibatches of 256. In one training every other epoch is
measured as `train` does it, from its start to the start of the next one: validation, history and checkpoint are in it. Time is
the process's own on the CPU, which other work on the machine blurs least; training runs on one thread.
Goal: the median of the epochs with is at most 10 % above the median of those without, for every cell.
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
from typing import TYPE_CHECKING

import pandas as pd
from reporting import Report

from carrossel.bars.config import Dataset, Repair
from carrossel.bars.preparation import prepare
from carrossel.bars.sources.base import open_source
from carrossel.config import load_params, project_root, validate
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import make_target
from carrossel.training.config import read_recipe
from carrossel.training.fitting import fit
from carrossel.training.gradients import GradientDiagnostics
from carrossel.windows.tensor import window_series

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from carrossel.forecaster.module import ForecastModule
    from carrossel.training.config import Recipe
    from carrossel.windows.tensor import WindowedSeries

KINDS = ("rnn", "lstm", "peephole", "peephole_diagonal", "coupled", "gru", "gru_reset_after")
DATASET = "bitcoin"
GOAL = 0.10
WARM = 2  # first epochs, which pay for what is set up once, one of each sort
PAIRS, PAIRS_QUICK = 9, 3


class EveryOther(GradientDiagnostics):
    """The diagnostics of `train` in epochs with an odd number, and the CPU seconds that each epoch took."""

    def __init__(self, data: WindowedSeries, recipe: Recipe) -> None:
        super().__init__(data, recipe.training)
        self.every = 1
        self.starts: list[float] = []

    def seconds(self, *, measured: bool) -> list[float]:
        """Of the epochs with or without diagnostics, the first ones left out."""
        spans = [end - start for start, end in zip(self.starts, self.starts[1:], strict=False)]
        return spans[WARM + measured :: 2]

    def on_train_epoch_start(self, *_: object) -> None:
        self.starts.append(time.process_time())

    def on_train_end(self, *_: object) -> None:
        self.starts.append(time.process_time())

    def on_after_backward(self, trainer: pl.Trainer, pl_module: ForecastModule) -> None:
        if trainer.current_epoch % 2:
            super().on_after_backward(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: ForecastModule, *rest: object) -> None:
        if trainer.current_epoch % 2:
            super().on_train_batch_end(trainer, pl_module, *rest)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: ForecastModule) -> None:
        if trainer.current_epoch % 2:
            super().on_train_epoch_end(trainer, pl_module)


def read_bars(params: dict, path: Path | None) -> pd.DataFrame:
    if path:
        return pd.read_parquet(path)
    dataset = validate(params["datasets"][DATASET], Dataset, f"datasets.{DATASET}")
    raw = open_source(dataset.source, project_root(), dataset.interval).fetch()
    return prepare(raw, dataset, Repair(), name=DATASET, now=pd.Timestamp.now("UTC")).bars


def time_epochs(data: WindowedSeries, recipe: Recipe, pairs: int) -> tuple[float, float]:
    """Median CPU seconds of an epoch without and with diagnostics."""
    epochs = WARM + 2 * pairs
    training = recipe.training.model_copy(update={"epochs": epochs, "patience": epochs})
    recipe = replace(recipe, training=training)
    timer = EveryOther(data, recipe)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            data,
            recipe,
            MemoryRecorder(),
            name="benchmark",
            checkpoints=Path(folder),
            callbacks=[timer],
            quiet=True,
            diagnose=False,
        )
    return statistics.median(timer.seconds(measured=False)), statistics.median(timer.seconds(measured=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer epochs, under 50 s")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/diagnostics.md")
    parser.add_argument(
        "--data", type=Path, help="canonical bars, such as data/bars/bitcoin.parquet; else the embedded ones"
    )
    parser.add_argument("--cells", default=",".join(KINDS), help="kinds, with commas between")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    params = load_params(Path(__file__).resolve().parents[1] / "params.yaml")
    bars = read_bars(params, options.data)
    say = Report("diagnostics", "torch", "pytorch-lightning", "numba")
    say(f"{'cell':18} {'epoch without':>14} {'with':>10} {'longer':>8}")
    worst = 0.0
    for kind in options.cells.split(","):
        params["cells"].setdefault(kind, {"hidden_size": 32})
        params["training"]["accelerator"] = "cpu"
        recipe = read_recipe(DATASET, kind, params)
        data = window_series(bars, recipe.windows, make_target(recipe.target))
        without, measured = time_epochs(data, recipe, PAIRS_QUICK if options.quick else PAIRS)
        longer = measured / without - 1
        say(f"{kind:18} {without * 1e3:11.0f} ms {measured * 1e3:7.0f} ms {longer:8.1%}")
        worst = max(worst, longer)
    say(f"diagnostics: worst {100 * worst:.1f} % (goal: at most {100 * GOAL:.0f} %)")
    if options.write:
        say.write()
    return int(worst > GOAL)


if __name__ == "__main__":
    sys.exit(main())
