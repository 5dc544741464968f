"""Quantiles of the label, never crossing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field, field_validator
from torch.nn.functional import softplus

from carrossel.forecaster.heads.base import Head, HeadConfig, interpolate
from carrossel.targets.base import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor


class QuantilesConfig(HeadConfig):
    """Knobs of the quantile head."""

    levels: tuple[float, ...] = Field(QUANTILES, min_length=1, description="Rising, between 0 and 1.")

    @field_validator("levels")
    @classmethod
    def _rising(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < level < 1 for level in levels) or sorted(set(levels)) != list(levels):
            raise ValueError("levels must rise and lie between 0 and 1")
        return levels


class Quantiles(Head, kind="quantiles"):
    """Pinball loss max(τ(y − q), (τ − 1)(y − q)), mean over levels.

    The first output is the lowest quantile, each further one adds softplus(output) to the one below.

    References:
        Koenker & Bassett (1978), Regression quantiles, eq. 1.2.
    """

    Config = QuantilesConfig
    config: QuantilesConfig

    @property
    def outputs(self) -> int:
        return len(self.config.levels)

    def _all(self, raw: Float[Tensor, "batch horizons outputs"]) -> Float[Tensor, "batch horizons outputs"]:
        return torch.cat([raw[..., :1], softplus(raw[..., 1:])], dim=-1).cumsum(-1)

    def loss(
        self, raw: Float[Tensor, "batch horizons outputs"], label: Float[Tensor, "batch horizons"]
    ) -> Float[Tensor, ""]:
        levels = torch.tensor(self.config.levels, dtype=raw.dtype, device=raw.device)
        error = label[..., None] - self._all(raw)
        return torch.maximum(levels * error, (levels - 1) * error).mean()

    def point(self, raw: Float[Tensor, "batch horizons outputs"]) -> Float[Tensor, "batch horizons"]:
        """The median."""
        return interpolate([0.5], self.config.levels, self._all(raw))[..., 0]

    def quantiles(
        self, raw: Float[Tensor, "batch horizons outputs"], levels: Sequence[float]
    ) -> Float[Tensor, "batch horizons levels"]:
        return interpolate(levels, self.config.levels, self._all(raw))
