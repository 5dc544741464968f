"""A stack of recurrent cells and a linear head on the last hidden state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from carrossel import cells
from carrossel.cells.unrolling import Backend, unroll
from carrossel.config import lookup, validate

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from carrossel.cells.base import Cell, CellConfig


def read_cell(kind: str, params: dict[str, Any]) -> CellConfig:
    """Section `cells.<kind>` of params.yaml, checked by that cell's own model.

    Raises:
        ConfigError: if the section or the kind doesn't exist, or a key is unknown.
    """
    section = f"cells.{kind}"
    return validate(lookup(section, params), cells.registry.load(kind).Config, section)


class Network(nn.Module):
    """Stacked cells → dropout between them → linear head on h_T of the top cell.

    Args:
        kind: the cell's kind.
        config: its configuration; `layers` cells of `hidden_size` units, `dropout` between them.
        features: number of input features.
        seed: of the initial weights.
    """

    def __init__(self, kind: str, config: CellConfig, features: int, seed: int) -> None:
        super().__init__()
        cell = cells.registry.load(kind)
        sizes = [features] + [config.hidden_size] * config.layers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.ModuleList(cell(size, config) for size in sizes[:-1])
            self.head = nn.Linear(config.hidden_size, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.backend: Backend = "auto"

    def forward(self, x: Float[Tensor, "batch time features"]) -> Float[Tensor, batch]:
        """Forecast in scaled label units."""
        hidden = x.transpose(0, 1)
        for depth, cell in enumerate(self.cells):
            hidden, _ = unroll(cell, self.dropout(hidden) if depth else hidden, backend=self.backend)
        return self.readout(hidden[-1])

    @property
    def cells(self) -> list[Cell]:
        """The stack, lowest first."""
        return [cast("Cell", layer) for layer in self.layers]

    def readout(self, h: Float[Tensor, "batch hidden"]) -> Float[Tensor, batch]:
        """The head on a hidden state."""
        forecast: Tensor = self.head(h)
        return forecast.squeeze(-1)
