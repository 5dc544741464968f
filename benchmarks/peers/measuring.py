"""What every runner shares: the data, the clock on the steps, and the talk with the benchmark.

Runs in the peers' environments too, so it imports nothing of carrossel.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn


def random_walk(points: int, seed: int) -> NDArray[np.float64]:
    """Prices whose logarithm is a random walk."""
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 1e-3, points)))


def scaled_returns(prices: NDArray[np.float64]) -> NDArray[np.float32]:
    """Log returns with mean 0 and deviation 1, shape [len(prices) - 1]."""
    returns = np.diff(np.log(prices))
    return ((returns - returns.mean()) / returns.std()).astype(np.float32)


class Steps(pl.Callback):
    """Counts windows and times optimiser steps from the end of `warm_up` steps to the end of `steps` more.

    Windows are counted where they enter the recurrent network, not where a setting promises them.

    Args:
        network: name of the module's attribute that is called with a batch of shape [batch, lookback, features].
    """

    def __init__(self, network: str, warm_up: int, steps: int) -> None:
        self.network, self.warm_up, self.last = network, warm_up, warm_up + steps
        self.seen = self.windows = self.first_windows = 0
        self.start = self.end = 0.0
        self.start_step = self.end_step = 0
        self.shape: list[int] = []
        self.counting = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer
        getattr(pl_module, self.network).register_forward_pre_hook(self._count)

    def on_train_batch_start(self, *_: Any) -> None:
        self.counting = True

    def on_train_batch_end(self, *_: Any) -> None:
        self.counting = False
        if not self.start and self.seen >= self.warm_up:
            self.start, self.start_step, self.first_windows = time.perf_counter(), self.seen, self.windows
        elif not self.end and self.seen >= self.last:
            self.end, self.end_step = time.perf_counter(), self.seen
            self.result = {
                "windows": self.windows - self.first_windows,
                "seconds": self.end - self.start,
                "steps": self.end_step - self.start_step,
                "window": self.shape[1:],
            }

    def _count(self, _module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        if self.counting:
            self.shape = list(arguments[0].shape)
            self.seen += 1
            self.windows += self.shape[0]


class BestWeights(pl.Callback):
    """Keeps the weights of the validation with the lowest loss.

    Args:
        monitor: the loss's name among what the library logs.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor, self.lowest = monitor, float("inf")
        self.weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = trainer.callback_metrics.get(self.monitor)
        if loss is not None and float(loss) < self.lowest:
            self.lowest = float(loss)
            self.weights = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]], packages: list[str]) -> None:
    """Answer each line of JSON on standard input with a line of JSON.

    Args:
        answer: gets `cell` and the settings that are the same for all.
        packages: whose versions to tell, beside the vector instructions torch uses.
    """
    # Libraries print as they please; that goes to standard error, answers to what was standard output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    versions = {name: version(name) for name in packages} | {"vectors": torch.backends.cpu.get_cpu_capability()}
    print(json.dumps(versions), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
