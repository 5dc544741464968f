"""The Lightning module: chunks of minibatches, so that Lightning's cost is paid once for several steps.

A minimal Lightning step costs 210 µs, logging 230 and the progress bar 90, as much as a small cell's whole forward and
backward pass. One Lightning step therefore trains on a chunk of minibatches: all but the last run bare, the last goes through
Lightning's hooks, which is where callbacks sample gradients and updates.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import pytorch_lightning as pl
import torch
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, Dataset, Sampler

from carrossel.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, Int
    from pytorch_lightning.core.optimizer import LightningOptimizer
    from torch import Tensor

    from carrossel.forecaster.network import Network
    from carrossel.windows.tensor import WindowedSeries

MINIBATCHES_PER_CHUNK = 8


class _Origins(Dataset["Tensor"]):
    """Looks up many origins at once, where a plain dataset would be asked for one at a time."""

    def __init__(self, origins: Tensor) -> None:
        self.origins = origins

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.origins[index]


class _Chunks(Sampler["Tensor"]):
    """Index chunks; shuffled anew each epoch from (seed, epoch) alone, so that a resumed training sees the same order."""

    def __init__(self, length: int, chunk: int, seed: int | None) -> None:
        self.length, self.chunk, self.seed, self.epoch = length, chunk, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.length / self.chunk)

    def __iter__(self) -> Iterator[Tensor]:
        # A generator, so that the order is drawn with the first chunk: Lightning makes the iterator of a resumed training's
        # first epoch before it has set the epoch.
        if self.seed is None:
            order = torch.arange(self.length)
        else:
            order = torch.randperm(self.length, generator=torch.Generator().manual_seed(mix(self.seed, self.epoch)))
        yield from order.split(self.chunk)


def mix(seed: int, epoch: int) -> int:
    """A seed for one epoch of one training."""
    return (seed * 1_000_003 + epoch) % 2**63


def loader(origins: Int[Tensor, windows], batch_size: int, seed: int | None = None) -> DataLoader[Tensor]:
    """Origins in chunks of `MINIBATCHES_PER_CHUNK` minibatches; in order if `seed` is None."""
    sampler = _Chunks(len(origins), batch_size * MINIBATCHES_PER_CHUNK, seed)
    # Each iterator draws a seed; from a generator of its own, else dropout would depend on when the iterator was made.
    return DataLoader(_Origins(origins), sampler=sampler, batch_size=None, generator=torch.Generator())


class ForecastModule(pl.LightningModule):
    """Trains a network on the windows of one series.

    Args:
        network: what is trained.
        data: the series; it moves to the device once, windows are gathered there.
        batch_size: windows per optimiser step.
        clip_norm: largest gradient norm; 0 turns clipping off.
        seed: of dropout; epochs draw from (seed, epoch), so that a resumed training repeats an undisturbed one.
    """

    def __init__(
        self,
        network: Network,
        data: WindowedSeries,
        *,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        clip_norm: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.batch_size, self.learning_rate, self.weight_decay = batch_size, learning_rate, weight_decay
        self.clip_norm, self.seed = clip_norm, seed
        self.lookback = data.lookback
        self.register_buffer("series", data.series, persistent=False)
        self.register_buffer("labels", data.labels, persistent=False)
        self.register_buffer("window", torch.arange(1 - data.lookback, 1), persistent=False)
        self.steps = self.clipped = 0

    def forward(self, origins: Int[Tensor, batch]) -> Float[Tensor, "batch horizons outputs"]:
        """The head's raw numbers for the windows that end at `origins`."""
        series, window = cast("Tensor", self.series), cast("Tensor", self.window)
        raw: Tensor = self.network(series[origins[:, None] + window])
        return raw

    def loss(self, origins: Int[Tensor, batch]) -> Float[Tensor, ""]:
        """Mean loss over a minibatch."""
        return self.network.head.loss(self(origins), cast("Tensor", self.labels)[origins])

    def on_train_epoch_start(self) -> None:
        """Reseed, so that an epoch depends on its number and not on what ran before it."""
        torch.manual_seed(mix(self.seed, self.current_epoch))
        self.steps = self.clipped = 0

    def training_step(self, origins: Int[Tensor, chunk]) -> None:
        """One chunk of minibatches.

        Raises:
            TrainingError: if the loss isn't finite.
        """
        optimizer = cast("LightningOptimizer", self.optimizers())
        *bare, last = origins.split(self.batch_size)
        losses = []
        for batch in bare:
            loss = self.loss(batch)
            optimizer.optimizer.zero_grad()
            loss.backward()
            self._clip()
            optimizer.optimizer.step()
            losses.append(loss.detach())
        loss = self.loss(last)
        optimizer.zero_grad()
        self.manual_backward(loss)
        self._clip()
        optimizer.step()
        losses.append(loss.detach())
        weights = torch.tensor([len(batch) for batch in (*bare, last)], device=self.device)
        mean = (torch.stack(losses) * weights).sum() / weights.sum()
        if not torch.isfinite(mean):
            raise TrainingError(
                f"the loss became {mean.item()} in epoch {self.current_epoch}. Lower training.learning_rate "
                f"(now {self.learning_rate:g}) or training.clip_norm (now {self.clip_norm:g}), or check the data."
            )
        self.log("train_loss", mean, on_step=False, on_epoch=True, batch_size=len(origins), prog_bar=True)

    def _clip(self) -> None:
        self.steps += 1
        if self.clip_norm:
            norm = clip_grad_norm_(self.network.parameters(), self.clip_norm)
            self.clipped += int(norm > self.clip_norm)

    def validation_step(self, origins: Int[Tensor, chunk]) -> None:
        """Loss and squared error of the point forecast on validation windows."""
        raw, label = self(origins), cast("Tensor", self.labels)[origins]
        head, windows = self.network.head, len(origins)
        self.log("validation_loss", head.loss(raw, label), on_epoch=True, batch_size=windows, prog_bar=True)
        self.log("validation_mse", (head.point(raw) - label).square().mean(), on_epoch=True, batch_size=windows)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW (Loshchilov & Hutter 2019), which is Adam at weight decay 0; fused: one kernel for all tensors."""
        return torch.optim.AdamW(
            self.network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )
