"""One number: the expected label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrossel.forecaster.heads.base import Head

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Point(Head, kind="point"):
    """Squared error, whose best answer is the conditional mean."""

    def loss(
        self, raw: Float[Tensor, "batch horizons outputs"], label: Float[Tensor, "batch horizons"]
    ) -> Float[Tensor, ""]:
        return (raw[..., 0] - label).square().mean()

    def point(self, raw: Float[Tensor, "batch horizons outputs"]) -> Float[Tensor, "batch horizons"]:
        return raw[..., 0]
