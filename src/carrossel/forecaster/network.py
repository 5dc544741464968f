"""A stack of recurrent cells, or two that read in both directions, and a head on the last hidden state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from carrossel import cells
from carrossel.cells.unrolling import Backend, unroll, unroll_states
from carrossel.config import lookup, validate
from carrossel.forecaster.heads.base import HeadConfig
from carrossel.forecaster.heads.base import registry as heads

if TYPE_CHECKING:
    from jaxtyping import Float

    from carrossel.cells.base import Cell, CellConfig, State


def read_cell(kind: str, params: dict[str, Any]) -> CellConfig:
    """Section `cells.<kind>` of params.yaml, checked by that cell's own model.

    Raises:
        ConfigError: if the section or the kind doesn't exist, or a key is unknown.
    """
    section = f"cells.{kind}"
    return validate(lookup(section, params), cells.registry.load(kind).Config, section)


class Trace(NamedTuple):
    """A network's way from windows to numbers, step by step, for diagnostics.

    Attributes:
        inputs: of each layer, lowest first, [time, batch, features of that layer].
        states: of each layer after each step, in the order of time; of a bidirectional network the forward stack's.
        raw: the head's numbers, [batch, horizons, outputs], computed from these very states.
    """

    inputs: list[Tensor]
    states: list[list[State]]
    raw: Tensor


class Network(nn.Module):
    """Stacked cells → dropout between them → head on h_T of the top cell.

    With `bidirectional` each layer has a second cell that reads its input from the last step to the first. The next layer's
    input is [forward, backward] of the same step, as in torch.nn; the head gets what each direction says at its end: the
    forward cell's h_T and the backward cell's h_1.

    Args:
        kind: the cell's kind.
        config: its configuration; `layers` cells of `hidden_size` units per direction, `dropout` between them.
        features: number of input features.
        seed: of the initial weights.
        head: what the last numbers mean; the point head if not given.
        horizons: number of bars forecast at once.

    References:
        Schuster & Paliwal (1997), Bidirectional recurrent neural networks.
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
        width = config.hidden_size * (2 if config.bidirectional else 1)
        sizes = [features] + [width] * (config.layers - 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.ModuleList(cell(size, config) for size in sizes)
            self.reverse_layers = nn.ModuleList(cell(size, config) for size in sizes if config.bidirectional)
            head = head or HeadConfig(kind="point")
            self.head = heads.load(head.kind)(head, width, horizons)
        self.dropout = nn.Dropout(config.dropout)
        self.backend: Backend = "auto"

    def forward(self, x: Float[Tensor, "batch time features"]) -> Float[Tensor, "batch horizons outputs"]:
        """The head's raw numbers."""
        raw: Tensor = self.head(self.summarise(x))
        return raw

    def summarise(self, x: Float[Tensor, "batch time features"]) -> Float[Tensor, "batch width"]:
        """What the head reads of each window: h_T, and beside it the backward cell's h_1."""
        hidden = x.transpose(0, 1)
        last = []
        for depth, cell in enumerate(self.cells):
            below = self.dropout(hidden) if depth else hidden
            hidden, _ = unroll(cell, below, backend=self.backend)
            last = [hidden[-1]]
            if self.bidirectional:
                backward = self._read_backwards(depth, below)
                last.append(backward[0])
                hidden = torch.cat([hidden, backward], dim=-1)
        return torch.cat(last, dim=-1) if self.bidirectional else last[0]

    def trace(self, x: Float[Tensor, "batch time features"]) -> Trace:
        """`forward` without dropout between layers, by the cells' own steps, with each state a node that the gradient passes."""
        hidden = x.transpose(0, 1)
        inputs, states, last = [], [], []
        for depth, cell in enumerate(self.cells):
            inputs.append(hidden)
            states.append(unroll_states(cell, hidden))
            last = [states[-1][-1].h]
            outputs = torch.stack([state.h for state in states[-1]])
            if self.bidirectional:
                backward = self._read_backwards(depth, hidden)
                last.append(backward[0])
                outputs = torch.cat([outputs, backward], dim=-1)
            hidden = outputs
        return Trace(inputs, states, self.head(torch.cat(last, dim=-1)))

    def point(self, x: Float[Tensor, "batch time features"]) -> Float[Tensor, "batch horizons"]:
        """Forecasts in scaled label units."""
        return self.head.point(self(x))

    @property
    def bidirectional(self) -> bool:
        """Whether a second stack reads the window backwards."""
        return len(self.reverse_layers) > 0

    @property
    def cells(self) -> list[Cell]:
        """The stack, lowest first; of a bidirectional network the one that reads forwards."""
        return [cast("Cell", layer) for layer in self.layers]

    @property
    def reverse_cells(self) -> list[Cell]:
        """The stack that reads backwards, lowest first; empty without one."""
        return [cast("Cell", layer) for layer in self.reverse_layers]

    def _read_backwards(self, depth: int, x: Float[Tensor, "time batch size"]) -> Float[Tensor, "time batch hidden"]:
        """Hidden states of a layer's backward cell, in the order of time."""
        hidden, _ = unroll(self.reverse_cells[depth], x.flip(0), backend=self.backend)
        return hidden.flip(0)
