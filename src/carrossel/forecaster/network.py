"""A stack of recurrent cells and a head on the last hidden state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from carrossel import cells
from carrossel.cells.unrolling import Backend, unroll
from carrossel.config import lookup, validate
from carrossel.forecaster.heads.base import HeadConfig
from carrossel.forecaster.heads.base import registry as heads

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
    """Stacked cells → dropout between them → head on h_T of the top cell.

    Args:
        kind: the cell's kind.
        config: its configuration; `layers` cells of `hidden_size` units, `dropout` between them.
        features: number of input features.
        seed: of the initial weights.
        head: what the last numbers mean; the point head if not given.
        horizons: number of bars forecast at once.
    """

    def __init__(
        self,
        kind: str,
        config: CellConfig,
        features: int,
        seed: int,
        head: HeadConfig | None = None,
        horizons: int = 1,
    ) -> None:
        super().__init__()
        cell = cells.registry.load(kind)
        sizes = [features] + [config.hidden_size] * config.layers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.ModuleList(cell(size, config) for size in sizes[:-1])
            head = head or HeadConfig(kind="point")
            self.head = heads.load(head.kind)(head, config.hidden_size, horizons)
        self.dropout = nn.Dropout(config.dropout)
        self.backend: Backend = "auto"

    def forward(self, x: Float[Tensor, "batch time features"]) -> Float[Tensor, "batch horizons outputs"]:
        """The head's raw numbers."""
        hidden = x.transpose(0, 1)
        for depth, cell in enumerate(self.cells):
            hidden, _ = unroll(cell, self.dropout(hidden) if depth else hidden, backend=self.backend)
        raw: Tensor = self.head(hidden[-1])
        return raw

    def point(self, x: Float[Tensor, "batch time features"]) -> Float[Tensor, "batch horizons"]:
        """Forecasts in scaled label units."""
        return self.head.point(self(x))

    @property
    def cells(self) -> list[Cell]:
        """The stack, lowest first."""
        return [cast("Cell", layer) for layer in self.layers]
