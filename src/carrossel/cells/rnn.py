"""The plain recurrent network."""

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


class RnnConfig(CellConfig):
    """Settings of the plain recurrent network."""

    activation: Literal["tanh", "relu", "identity"] = Field(
        default="tanh", description="tanh is the lecture's; identity makes a linear network, for closed-form gradients."
    )


class Rnn(Cell, kind="rnn"):
    """Plain recurrent network.

        h_t = tanh(W_x x_t + W_h h_{t-1} + b)

    One block, `hidden`. With `activation: identity` the network is linear, and its gradient through k steps is W_h^k:
    it vanishes or explodes with the powers of W_h.

    References:
        Elman (1990), Finding structure in time. Notation of Olah (2015), Understanding LSTM networks.
    """

    Config = RnnConfig
    gates = ("hidden",)
    config: RnnConfig

    def step(self, projected: Float[Tensor, "batch hidden"], state: State) -> State:
        h = self.recur(projected, state.h)
        match self.config.activation:
            case "tanh":
                return State(h.tanh())
            case "relu":
                return State(h.relu())
            case "identity":
                return State(h)

    def fused(self) -> FusedForm | None:
        if self.config.activation == "identity" or self.bias is None:
            return None
        options = {"nonlinearity": self.config.activation}
        return FusedForm(nn.RNN, self.weight_x, self.weight_h, self.bias, torch.zeros_like(self.bias), options)

    def native(self) -> NativeForm | None:
        if self.config.activation == "identity" or self.bias is None:
            return None
        attributes = {"activations": [self.config.activation.capitalize()]}
        return NativeForm("RNN", self.weight_x, self.weight_h, self.bias, attributes=attributes)

    def fast(self) -> FastForm | None:
        maths = {"tanh": TANH, "relu": RELU}.get(self.config.activation)
        return None if maths is None else FastForm(maths, self.weight_x, self.weight_h, self.bias)
