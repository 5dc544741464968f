"""A cell with what it needs to answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import dropout

from carrossel import cells
from carrossel.cells.unrolling import unroll

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from carrossel.cells import CellConfig


class Examinee(nn.Module):
    """Cells, stacked, and a linear map from the last one's h to an answer.

    Args:
        kind: of the cells.
        inputs: features of x.
        outputs: numbers in an answer.
        seed: of the initial weights.
    """

    def __init__(self, kind: str, config: CellConfig, inputs: int, outputs: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        cell = cells.registry.load(kind)
        sizes = [inputs, *[config.hidden_size] * (config.layers - 1)]
        self.cells = nn.ModuleList(cell(size, config, generator=generator) for size in sizes)
        self.dropout = config.dropout
        self.readout = nn.Linear(config.hidden_size, outputs)
        nn.init.xavier_uniform_(self.readout.weight, generator=generator)
        nn.init.zeros_(self.readout.bias)

    def forward(
        self, x: Float[Tensor, "time batch inputs"], asked: Int[Tensor, " answers"]
    ) -> Float[Tensor, "answers outputs"]:
        """Answers after the steps that are asked about; see `Batch.asked`."""
        h = x
        for depth, cell in enumerate(self.cells):
            if depth and self.dropout:
                h = dropout(h, self.dropout, training=self.training)
            h, _ = unroll(cell, h)  # type: ignore[arg-type]  # a ModuleList knows its modules as Module alone
        answers: Tensor = self.readout(h.flatten(0, 1).index_select(0, asked))
        return answers
