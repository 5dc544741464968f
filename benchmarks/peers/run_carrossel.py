"""The whole Lightning path as `train` runs it."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
from measuring import Steps, random_walk, serve

from carrossel import cells
from carrossel.forecaster.heads.base import HeadConfig
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import TargetConfig, make_target
from carrossel.training.config import Recipe, Training
from carrossel.training.fitting import fit
from carrossel.windows.config import Windows
from carrossel.windows.tensor import window_series


def train(task: dict[str, Any]) -> dict[str, Any]:
    close = random_walk(task["points"], task["seed"])
    time = pd.date_range("2020-01-01", periods=len(close), freq="min", tz="UTC")
    bars = pd.DataFrame({"timestamp": time, "open": close, "high": close, "low": close, "close": close, "volume": 1.0})
    windows = Windows(lookback=task["lookback"], features=("log_return",))
    kind, target = task["cell"], TargetConfig(kind="log_return")
    data = window_series(bars, windows, make_target(target))
    cell = cells.registry.load(kind).Config(hidden_size=task["hidden"])
    epochs = -(-(task["warm_up"] + task["steps"]) * task["batch"] // len(data.split.train))
    training = Training(
        seed=task["seed"], epochs=epochs, patience=epochs, batch_size=task["batch"], accelerator="cpu", threads=1
    )
    recipe = Recipe("peers", kind, kind, cell, windows, target, HeadConfig(kind="point"), training)
    steps = Steps("network", task["warm_up"], task["steps"])
    with tempfile.TemporaryDirectory() as folder:
        fit(data, recipe, MemoryRecorder(), name="peers", checkpoints=Path(folder), callbacks=[steps])
    return steps.result


warnings.filterwarnings("ignore", category=UserWarning)
serve(train, ["carrossel", "torch", "pytorch-lightning", "numpy", "numba"])
