"""Recurrent network whose units see no state but their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from carrossel.cells.base import Cell, CellConfig, FusedForm, State
from carrossel.cells.kernels.form import FastForm
from carrossel.cells.onnx.form import NativeForm
from carrossel.cells.ungated import RELU, TANH

if TYPE_CHECKING:
    from jaxtyping import Float


class IndrnnConfig(CellConfig):
    """Settings of the independently recurrent network."""

    activation: Literal["relu", "tanh"] = Field(default="relu", description="relu is the paper's.")
    recurrent_t_max: int | None = Field(
        default=None,
        ge=1,
        description="Longest sequence, in steps: recurrent weights then act as at most 2^(1/T), the paper's bound for relu.",
    )


class Indrnn(Cell, kind="indrnn"):
    """Independently recurrent network: each unit has one recurrent weight, on its own state.

        h_t = relu(W_x x_t + u * h_{t-1} + b)

    The gradient of a unit through k steps is u^k as long as it is active, so its memory can be read from u, and held in
    bounds by it: |u| ≤ 2^(1/T) lets no gradient more than double in T steps. Units meet in the next layer: use two or
    more. With ONNX, torch.nn and the kernels u runs as the diagonal of a W_h.

    Attributes:
        weight_u: u, [hidden]; starts uniform over 0 … 1, or 0 … 2^(1/T) with `recurrent_t_max`.

    References:
        Li, Li, Cook, Zhu & Gao (2018), Independently recurrent neural network (IndRNN): building a longer and deeper RNN,
        arXiv:1803.04831.
    """

    Config = IndrnnConfig
    gates = ("hidden",)
    blocks_h = ()
    config: IndrnnConfig
    bias: nn.Parameter
    weight_u: nn.Parameter

    def add_parameters(self) -> None:
        self.weight_u = nn.Parameter(torch.empty(self.hidden_size))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        nn.init.uniform_(self.weight_u, 0, self._bound or 1, generator=generator)

    @property
    def _bound(self) -> float | None:
        return None if self.config.recurrent_t_max is None else 2 ** (1 / self.config.recurrent_t_max)

    @property
    def u(self) -> Float[Tensor, " hidden"]:
        """The recurrent weights as they act: within the bound, where there is one."""
        bound, u = self._bound, self.weight_u
        if bound is None:
            return u
        # The gradient passes the bound: a plain clamp would give none beyond it, and the weight could never come back.
        return u + (u.clamp(-bound, bound) - u).detach()

    def step(self, projected: Float[Tensor, "batch hidden"], state: State) -> State:
        h = state.h if self._mask is None else state.h * self._mask
        sums = torch.addcmul(projected, self.u, h)
        if self.gain is not None:
            sums = self.normalise(sums, self.gain, self.bias)
        return State(sums.relu() if self.config.activation == "relu" else sums.tanh())

    def recurrent_blocks(self) -> dict[str, Float[Tensor, "hidden hidden"]]:
        return {"hidden": self.u.diag()}

    def fused(self) -> FusedForm:
        options = {"nonlinearity": self.config.activation}
        return FusedForm(nn.RNN, self.weight_x, self.u.diag(), self.bias, torch.zeros_like(self.bias), options)

    def native(self) -> NativeForm:
        attributes = {"activations": [self.config.activation.capitalize()]}
        return NativeForm("RNN", self.weight_x, self.u.diag(), self.bias, attributes=attributes)

    def fast(self) -> FastForm:
        # Zeros are multiplied too, and still it takes about half the loop's time up to 64 units; from 128 on the loop is ahead.
        maths = RELU if self.config.activation == "relu" else TANH
        return FastForm(maths, self.weight_x, self.u.diag(), self.bias)
