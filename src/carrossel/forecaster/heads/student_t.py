"""A Student-t distribution of the label: heavy tails, as returns have."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.polynomial import chebyshev
from scipy import stats
from torch.distributions import StudentT
from torch.nn.functional import softplus

from carrossel.forecaster.heads.base import Head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

_LEAST_SCALE = 1e-4
"""In scaled label units: a constant stretch of the series would else drive the likelihood to infinity."""
_DEGREE = 20


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
        return location[..., None] + scale[..., None] * standard_quantiles(freedom, levels)


def standard_quantiles(freedom: Float[Tensor, "*rest"], levels: Sequence[float]) -> Float[Tensor, "*rest levels"]:
    """Quantiles of the standard Student-t with more than 2 degrees of freedom, within 1e-9 of scipy's.

    A polynomial in 1/freedom, where they are smooth from 0, the normal distribution, to 1/2: unlike scipy's inverse it is part of
    any graph that torch can trace.
    """
    coefficients = torch.from_numpy(_coefficients(tuple(levels))).to(freedom.device)
    position = (4 / freedom.double() - 1)[..., None]  # −1 … 1
    powers = position ** torch.arange(len(coefficients), dtype=torch.float64, device=freedom.device)
    return (powers @ coefficients).to(freedom.dtype)


@cache
def _coefficients(levels: tuple[float, ...]) -> NDArray[np.float64]:
    """Of powers 0 … 20 of 4/freedom − 1, by level: interpolation at Chebyshev's points."""
    fitted = chebyshev.chebinterpolate(lambda at: stats.t.ppf(np.array(levels)[:, None], 4 / (at + 1)).T, _DEGREE)
    powers = np.zeros_like(fitted)
    for level, column in enumerate(fitted.T):
        found = chebyshev.cheb2poly(column)  # without zeros at the end, which the median's all are
        powers[: len(found), level] = found
    return powers
