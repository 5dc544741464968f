"""Cells whose gates see x alone: h_t = a_t * h_{t−1} + b_t, so that all steps can run at once."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import linear

from carrossel.cells.base import Cell, CellConfig, State
from carrossel.cells.kernels.form import FastForm, GateMaths
from carrossel.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float


class ParallelConfig(CellConfig):
    """Settings of cells without recurrent weights."""

    positive: bool = Field(
        default=False,
        description="Whether the candidate goes through g (x + 0.5 where x ≥ 0, else σ(x)), as in the paper's log-space form.",
    )

    @model_validator(mode="after")
    def _no_recurrent_products(self) -> Self:
        if self.recurrent_dropout:
            raise ValueError(
                f"recurrent_dropout = {self.recurrent_dropout} drops h in recurrent products, and this cell has none; "
                "leave it 0 and use dropout or zoneout"
            )
        return self


class ParallelCell(Cell):
    """A cell without recurrent weights; its file says what `coefficients` are.

    With `layer_norm` each gate's W_x x is normalised over the units, since there is no other product.

    Raises:
        ConfigError: for `layer_norm` on a single feature, of which nothing but the sign would be left.
    """

    Config = ParallelConfig
    blocks_h = ()
    config: ParallelConfig

    def __init__(self, input_size: int, config: ParallelConfig, *, generator: torch.Generator | None = None) -> None:
        if config.layer_norm and input_size == 1:
            raise ConfigError(
                f"layer_norm: true: a {self.kind} cell normalises W_x x alone, and of a single feature that leaves nothing but "
                "the sign. Leave it false, or give the windows more features."
            )
        super().__init__(input_size, config, generator=generator)

    @property
    def needs_loop(self) -> bool:
        return self.config.zoneout > 0  # layer normalisation is over before the first step

    def project(self, x: Float[Tensor, "time batch input_size"]) -> Float[Tensor, "time batch rows"]:
        sums = linear(x, self.weight_x, self.bias)
        return sums if self.gain is None else self.normalise(sums, self.gain, self.bias)

    @abstractmethod
    def coefficients(
        self, projected: Float[Tensor, "*steps batch rows"]
    ) -> tuple[Float[Tensor, "*steps batch hidden"], Float[Tensor, "*steps batch hidden"]]: ...

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        a, b = self.coefficients(projected)
        return State(torch.addcmul(b, a, state.h))

    def candidate(self, projected: Float[Tensor, "*steps batch hidden"]) -> Float[Tensor, "*steps batch hidden"]:
        """h̃: the block itself, or g of it."""
        if not self.config.positive:
            return projected
        return torch.where(projected >= 0, projected + 0.5, projected.sigmoid())

    def form(self, maths: GateMaths) -> FastForm | None:
        """For `fast`, where no option is on that the gate maths don't know: recurrent weights of zeros.

        On the CPU that is faster than a scan all the same: a step's gates never leave the cache.
        """
        if self.config.positive or self.gain is not None:
            return None
        return FastForm(maths, self.weight_x, self.weight_x.new_zeros(len(self.weight_x), self.hidden_size), self.bias)
