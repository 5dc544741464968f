"""Fit one network with Lightning: early stopping, checkpoint, resume."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar

from carrossel.errors import TrainingError
from carrossel.forecaster.module import ForecastModule, loader
from carrossel.forecaster.network import Network
from carrossel.training.callbacks import BestWeights, EpochLines, History, Row
from carrossel.training.gradients import GradientDiagnostics

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carrossel.recorder import Recorder
    from carrossel.training.config import Recipe
    from carrossel.windows.tensor import WindowedSeries

_LAST = "last"


@dataclass(frozen=True)
class Fit:
    """What a training leaves.

    Args:
        network: with the weights of the epoch whose validation loss was lowest.
        validation_loss: of that epoch, in scaled label units.
    """

    network: Network
    validation_loss: float
    best_epoch: int
    history: list[Row]
    gradients: GradientDiagnostics


def fit(
    data: WindowedSeries,
    recipe: Recipe,
    recorder: Recorder,
    *,
    name: str,
    checkpoints: Path | None = None,
    start: Network | None = None,
    callbacks: Sequence[pl.Callback] = (),
    quiet: bool = False,
    diagnose: bool = True,
) -> Fit:
    """Train until the validation loss stops falling, or for `epochs`.

    Args:
        name: what people read before each line, such as `train@bitcoin-lstm`.
        checkpoints: folder of this very training; a training killed there goes on at the end of its last whole epoch and ends
            with the numbers an undisturbed one would have.
        start: a network of the same recipe that is trained on; a fresh one if not given.
        callbacks: further ones, such as a tuner's pruning.
        quiet: leave out progress, where several trainings run side by side.
        diagnose: measure inside of the cells; without, their tables stay empty.

    Raises:
        TrainingError: if the loss isn't finite.
    """
    config = recipe.training
    _quiet_lightning()
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    network = Network(
        recipe.kind, recipe.cell, data.series.shape[1], config.seed, recipe.head, len(recipe.windows.horizons)
    )
    network.head.prepare(data.labels[torch.from_numpy(data.split.train)])
    if start is not None:
        # Parameters alone: buffers, such as the edges of bins, belong to the labels at hand.
        network.load_state_dict({**network.state_dict(), **dict(start.named_parameters())})
    network.backend = config.backend
    module = ForecastModule(
        network,
        data,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        seed=config.seed,
    )
    terminal = sys.stderr.isatty() and not quiet
    best = BestWeights()
    gradients = GradientDiagnostics(data, config)
    history = History(recorder, gradients.scalars if diagnose else dict, naive_mse(data))
    keep = [
        ModelCheckpoint(
            checkpoints, filename=_LAST, monitor=None, save_on_train_epoch_end=True, enable_version_counter=False
        )
    ]
    trainer = pl.Trainer(
        accelerator=config.accelerator,
        devices=1,
        max_epochs=config.epochs,
        logger=False,
        callbacks=[
            best,
            *([gradients] if diagnose else []),
            history,
            *callbacks,
            EarlyStopping("validation_loss", patience=config.patience, check_on_train_epoch_end=True),
            *([] if quiet else [TQDMProgressBar(leave=True)] if terminal else [EpochLines(name)]),
            *(keep if checkpoints else []),
        ],
        enable_checkpointing=checkpoints is not None,
        enable_progress_bar=terminal,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    last = checkpoints / f"{_LAST}.ckpt" if checkpoints else None
    resume = last if last and last.exists() else None
    if resume:
        print(f"{name}: resuming from {resume}", flush=True)
    with warnings.catch_warnings():
        # One worker per loader would cost more than looking up a chunk of row numbers.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        # Lightning asks torch for a name that torch is about to drop.
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated.*")
        trainer.fit(
            module,
            loader(torch.from_numpy(data.split.train), config.batch_size, config.seed),
            loader(torch.from_numpy(data.split.validation), config.batch_size),
            ckpt_path=resume,
            weights_only=True,
        )
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not best.weights:
        raise TrainingError(f"{name}: no epoch ended with a finite validation loss; lower training.learning_rate.")
    network.load_state_dict(best.weights)
    if diagnose:
        history.amend(best.epoch, gradients.complete(module, best.epoch))
    return Fit(network.cpu().eval(), best.loss, best.epoch, history.rows, gradients)


def naive_mse(data: WindowedSeries) -> float:
    """Squared error of 'tomorrow = today' on the validation part, in scaled label units, mean over horizons."""
    origins = data.split.validation
    naive = data.label_scaler.transform(data.unchanged[origins])
    return float(np.mean((naive - data.labels[torch.from_numpy(origins)].double().numpy()) ** 2))


def _quiet_lightning() -> None:
    """Keep Lightning's lines about hardware and tips out of a stage's output."""
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.ERROR)
