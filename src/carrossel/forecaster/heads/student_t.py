"""A Student-t distribution of the label: heavy tails, as returns have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scipy import stats
from torch.distributions import StudentT
from torch.nn.functional import softplus

from carrossel.forecaster.heads.base import Head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

_LEAST_SCALE = 1e-4
"""In scaled label units: a constant stretch of the series would else drive the likelihood to infinity."""


class StudentTHead(Head, kind="student_t"):
    """Negative log likelihood of location μ, scale softplus(s) and 2 + softplus(d) degrees of freedom.

    More than 2 degrees of freedom keep the variance finite.

    References:
        Salinas et al. (2020), DeepAR, section 3, with a Student-t in place of the normal.
    """

    @property
    def outputs(self) -> int:
        return 3

    @staticmethod
    def _distribution(raw: Float[Tensor, "batch horizons outputs"]) -> tuple[Tensor, Tensor, Tensor]:
        location, scale, freedom = raw.unbind(-1)
        return location, softplus(scale) + _LEAST_SCALE, 2 + softplus(freedom)

    def loss(
        self, raw: Float[Tensor, "batch horizons outputs"], label: Float[Tensor, "batch horizons"]
    ) -> Float[Tensor, ""]:
        location, scale, freedom = self._distribution(raw)
        log_likelihood: Tensor = StudentT(freedom, location, scale, validate_args=False).log_prob(label)
        return -log_likelihood.mean()

    def point(self, raw: Float[Tensor, "batch horizons outputs"]) -> Float[Tensor, "batch horizons"]:
        """The mean, which is the location."""
        return raw[..., 0]

    def quantiles(
        self, raw: Float[Tensor, "batch horizons outputs"], levels: Sequence[float]
    ) -> Float[Tensor, "batch horizons levels"]:
        location, scale, freedom = self._distribution(raw.detach())
        standard = stats.t.ppf(list(levels), freedom.double().cpu().numpy()[..., None])
        return location[..., None] + scale[..., None] * torch.as_tensor(standard, dtype=raw.dtype, device=raw.device)
