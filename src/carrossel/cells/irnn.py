"""Plain recurrent network of rectified units that starts by remembering everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn

from carrossel.cells.base import Cell, CellConfig, FusedForm, State
from carrossel.cells.kernels.form import FastForm
from carrossel.cells.onnx.form import NativeForm
from carrossel.cells.ungated import RELU

if TYPE_CHECKING:
    from jaxtyping import Float


class IrnnConfig(CellConfig):
    """Settings of the IRNN."""

    scale: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="Start value of W_h's diagonal: 1 keeps the state; less forgets, for tasks with short dependencies.",
    )
    input_std: float = Field(
        default=0.001,
        gt=0,
        allow_inf_nan=False,
        description="Standard deviation of the input weights at the start: small, since the state adds up all inputs.",
    )


class Irnn(Cell, kind="irnn"):
    """Plain recurrent network of rectified units whose recurrent matrix starts as the identity.

        h_t = relu(W_x x_t + W_h h_{t-1} + b),    W_h = scale · I, b = 0 and W_x ~ N(0, input_std²) at the start

    So before training a unit keeps its state and adds what comes in, and the gradient of an active unit passes back
    unchanged. Nothing bounds h.

    References:
        Le, Jaitly & Hinton (2015), A simple way to initialize recurrent networks of rectified linear units,
        arXiv:1504.00941.
    """

    Config = IrnnConfig
    gates = ("hidden",)
    config: IrnnConfig
    bias: nn.Parameter

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        with torch.no_grad():
            nn.init.eye_(self.weight_h).mul_(self.config.scale)
            nn.init.normal_(self.weight_x, std=self.config.input_std, generator=generator)

    def step(self, projected: Float[Tensor, "batch hidden"], state: State) -> State:
        return State(self.recur(projected, state.h).relu())

    def fused(self) -> FusedForm:
        options = {"nonlinearity": "relu"}
        return FusedForm(nn.RNN, self.weight_x, self.weight_h, self.bias, torch.zeros_like(self.bias), options)

    def native(self) -> NativeForm:
        return NativeForm("RNN", self.weight_x, self.weight_h, self.bias, attributes={"activations": ["Relu"]})

    def fast(self) -> FastForm:
        return FastForm(RELU, self.weight_x, self.weight_h, self.bias)
