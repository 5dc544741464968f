"""The probability that the price goes up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.functional import binary_cross_entropy_with_logits

from carrossel.forecaster.heads.base import Head

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Probability(Head, kind="probability"):
    """Logit and cross-entropy (log loss)."""

    def loss(
        self, raw: Float[Tensor, "batch horizons outputs"], label: Float[Tensor, "batch horizons"]
    ) -> Float[Tensor, ""]:
        return binary_cross_entropy_with_logits(raw[..., 0], label)

    def point(self, raw: Float[Tensor, "batch horizons outputs"]) -> Float[Tensor, "batch horizons"]:
        return raw[..., 0].sigmoid()
