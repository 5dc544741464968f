"""A histogram of the label: which of the bins between training quantiles comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch.nn.functional import cross_entropy

from carrossel.forecaster.heads.base import Head, HeadConfig
from carrossel.targets.base import MOVES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int
    from torch import Tensor


class BinnedConfig(HeadConfig):
    """Knobs of the binned head."""

    bins: int = Field(21, ge=2, le=201, description="Bins of equal share in the training labels.")


class Binned(Head, kind="binned"):
    """Softmax over bins, cross-entropy; the point forecast is Σ p_b · (mean training label of bin b)."""

    Config = BinnedConfig
    config: BinnedConfig

    def __init__(self, config: BinnedConfig, hidden_size: int, horizons: int) -> None:
        super().__init__(config, hidden_size, horizons)
        self.register_buffer("edges", torch.zeros(horizons, config.bins + 1))
        self.register_buffer("centers", torch.zeros(horizons, config.bins))
        self.edges: Tensor
        self.centers: Tensor

    @property
    def outputs(self) -> int:
        return self.config.bins

    def prepare(self, labels: Float[Tensor, "windows horizons"]) -> None:
        """Edges at the training labels' quantiles, from the smallest label to the largest."""
        exact = labels.double()
        levels = torch.linspace(0, 1, self.config.bins + 1, dtype=torch.float64)
        edges = torch.stack([torch.quantile(column, levels) for column in _thin(exact).T])
        edges[:, 0], edges[:, -1] = exact.amin(0), exact.amax(0)
        self.edges.copy_(edges)
        bins = self.bin(labels)
        for horizon in range(self.horizons):
            # A bin that no label fell into, as where one value makes up many quantiles, keeps the middle of its edges.
            self.centers[horizon] = (self.edges[horizon, 1:] + self.edges[horizon, :-1]) / 2
            for number in bins[:, horizon].unique():
                self.centers[horizon, number] = exact[bins[:, horizon] == number, horizon].mean().float()

    def bin(self, label: Float[Tensor, "batch horizons"]) -> Int[Tensor, "batch horizons"]:
        """Number of the bin that each label falls into; what lies beyond the outer edges belongs to the outer bins."""
        inner = self.edges[:, 1:-1].contiguous()
        return torch.searchsorted(inner, label.T.contiguous(), right=True).T

    def loss(
        self, raw: Float[Tensor, "batch horizons outputs"], label: Float[Tensor, "batch horizons"]
    ) -> Float[Tensor, ""]:
        return cross_entropy(raw.flatten(0, 1), self.bin(label).flatten())

    def point(self, raw: Float[Tensor, "batch horizons outputs"]) -> Float[Tensor, "batch horizons"]:
        return (raw.softmax(-1) * self.centers).sum(-1)

    def quantiles(
        self, raw: Float[Tensor, "batch horizons outputs"], levels: Sequence[float]
    ) -> Float[Tensor, "batch horizons levels"]:
        """Linear within a bin."""
        cumulated = raw.double().softmax(-1).cumsum(-1)  # a rounding error grows with 1 / (probability of the bin)
        start = torch.nn.functional.pad(cumulated, (1, 0))
        columns = []
        for level in levels:
            number = (cumulated < level).sum(-1, keepdim=True).clamp(max=self.config.bins - 1)
            below, above = start.gather(-1, number), start.gather(-1, number + 1)
            edges = self.edges.double().expand(*number.shape[:-2], -1, -1)
            left, right = edges.gather(-1, number), edges.gather(-1, number + 1)
            share = ((level - below) / (above - below).clamp(min=1e-12)).clamp(0, 1)
            columns.append(left + share * (right - left))
        return torch.cat(columns, dim=-1).to(raw.dtype)

    def likeliest(
        self, raw: Float[Tensor, "batch horizons outputs"], count: int = len(MOVES)
    ) -> tuple[Float[Tensor, "batch horizons count"], Float[Tensor, "batch horizons count"]]:
        """Probabilities, highest first, and the mean training label of each bin; no more than there are bins."""
        best = raw.softmax(-1).topk(min(count, self.config.bins), dim=-1)
        centers = self.centers.expand(len(raw), -1, -1)
        return best.values, centers.gather(-1, best.indices)


_MOST = 1_000_000
"""torch.quantile takes no more than 16 million values; far fewer give the same edges."""


def _thin(labels: Float[Tensor, "windows horizons"]) -> Float[Tensor, "windows horizons"]:
    return labels[:: -(-len(labels) // _MOST)]
