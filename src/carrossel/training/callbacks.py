"""What happens beside the optimiser: the best weights, the history, lines for people."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from carrossel.forecaster.module import ForecastModule
    from carrossel.recorder import Recorder

Row = dict[str, float]


class BestWeights(pl.Callback):
    """Remembers the weights with the lowest validation loss, inside the checkpoint, so that one file holds all of a training."""

    def __init__(self) -> None:
        self.loss = float("inf")
        self.epoch = -1
        self.weights: dict[str, torch.Tensor] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: ForecastModule) -> None:  # type: ignore[override]  # our own module
        loss = float(trainer.callback_metrics["validation_loss"])
        if loss < self.loss:
            self.loss, self.epoch = loss, trainer.current_epoch
            self.weights = {name: value.detach().clone() for name, value in pl_module.network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loss, self.epoch, self.weights = state_dict["loss"], state_dict["epoch"], state_dict["weights"]


class History(pl.Callback):
    """One row per epoch, kept in the checkpoint and sent to the recorder in one batch.

    Args:
        scalars: further numbers of the epoch, such as the gradient diagnostics'.
        naive_mse: the validation part's squared error of 'tomorrow = today', which validation skill is measured against.
    """

    def __init__(self, recorder: Recorder, scalars: Callable[[], Row], naive_mse: float) -> None:
        self.recorder, self.scalars, self.naive_mse = recorder, scalars, naive_mse
        self.rows: list[Row] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: ForecastModule) -> None:  # type: ignore[override]  # our own module
        validation_loss = float(trainer.callback_metrics["validation_loss"])
        skill = 1 - float(trainer.callback_metrics["validation_mse"]) / self.naive_mse
        trainer.callback_metrics["validation_skill"] = torch.tensor(skill, dtype=torch.float64)
        row = {
            "train_loss": float(trainer.callback_metrics["train_loss"]),
            "validation_loss": validation_loss,
            "validation_skill": skill,
            "clip_rate": pl_module.clipped / max(pl_module.steps, 1),
            **self.scalars(),
        }
        self.rows.append({"epoch": trainer.current_epoch, **row})
        self.recorder.metrics(row, step=trainer.current_epoch)

    def amend(self, epoch: int, row: Row) -> None:
        """Add to an epoch's row what was measured of it later."""
        if row:
            next(each for each in self.rows if each["epoch"] == epoch).update(row)
            self.recorder.metrics(row, step=epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])


class EpochLines(pl.Callback):
    """One line per epoch where there is no terminal to draw a progress bar on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer, pl_module
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del pl_module
        seen = trainer.callback_metrics
        print(
            f"{self.name}: epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  train {float(seen['train_loss']):.5f}  "
            f"validation {float(seen['validation_loss']):.5f}  {time.perf_counter() - self.started:.1f} s",
            flush=True,
        )
