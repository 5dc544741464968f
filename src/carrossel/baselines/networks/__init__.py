"""Small torch modules: minibatches of windows, Adam, weights of the best validation epoch."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

import torch
from pydantic import Field

from carrossel.baselines.base import BaselineConfig, training_origins
from carrossel.baselines.stopping import Patience, stopping_origins

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from carrossel.windows.tensor import WindowedSeries

T = TypeVar("T")
_CHUNK = 4096


class NetworkConfig(BaselineConfig):
    """What every small network can be told."""

    epochs: int = Field(8, ge=1, description="Passes over the training windows, at most.")
    patience: int = Field(2, ge=1, description="Epochs without a lower validation loss before training stops.")
    batch_size: int = Field(256, ge=1, description="Windows per optimiser step.")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="Of Adam.")


def build(make: Callable[[], T], seed: int) -> T:
    """Networks whose initial weights come from `seed`; the global generator goes on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def fit_network(
    network: nn.Module, loss: Callable[[Tensor], Tensor], data: WindowedSeries, config: NetworkConfig, seed: int
) -> None:
    """Descend the loss over the training windows, in place.

    Args:
        loss: mean loss of the windows that end at given origins.
        seed: of the order of windows.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    train, held = (torch.from_numpy(origins) for origins in (training_origins(data), stopping_origins(data)))
    patience = Patience(config.patience)
    best = copy.deepcopy(network.state_dict())
    for _ in range(config.epochs):
        for batch in train[torch.randperm(len(train), generator=generator)].split(config.batch_size):
            optimiser.zero_grad()
            loss(batch).backward()
            optimiser.step()
        with torch.no_grad():
            parts = [loss(part).item() * len(part) for part in held.split(_CHUNK)]
        if patience.improves(sum(parts) / len(held)):
            best = copy.deepcopy(network.state_dict())
        if patience.ended:
            break
    network.load_state_dict(best)
