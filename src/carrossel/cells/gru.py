"""Gated recurrent unit, as the lecture writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from carrossel.cells.base import Cell, CellConfig, State
from carrossel.cells.initialisation import chrono_bias, fill_gate_bias
from carrossel.cells.kernels.form import FastForm, GateMaths
from carrossel.cells.kernels.functions import sigmoid, tanh
from carrossel.cells.onnx.form import NativeForm, arrange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float


class GruConfig(CellConfig):
    """Settings of the lecture's gated recurrent unit."""

    bias: bool = Field(default=False, description="Whether gates and candidate have biases; the lecture's have none.")
    chrono_t_max: int | None = Field(
        default=None,
        ge=2,
        description="Longest dependency expected, in steps: chrono initialisation of the update gate. Needs bias.",
    )

    @model_validator(mode="after")
    def _chrono_needs_bias(self) -> Self:
        if self.chrono_t_max is not None and not self.bias:
            raise ValueError("chrono_t_max sets a bias and needs bias: true")
        return self


def _forward(gates: Any, before: Any, _vectors: Any) -> Any:
    r, z = sigmoid(gates[0]), sigmoid(gates[1])
    return (r, z, gates[2]), (None, r * before[0])


def _finish(gates: Any, state: Any) -> Any:
    candidate = tanh(gates[2])
    return (candidate,), state[0] + gates[1] * (candidate - state[0])


def _finish_backward(gates: Any, _state: Any, gradient: Any) -> Any:
    _r, z, candidate = gates
    return (gradient[0] * z * (1 - candidate * candidate),), None


def _backward(gates: Any, before: Any, _after: Any, gradient: Any, _vectors: Any) -> Any:
    r, z, candidate = gates
    dh, dreset = gradient
    dr = dreset * before[0] * r * (1 - r)
    dz = dh * (candidate - before[0]) * z * (1 - z)
    return (dr, dz), (dh * (1 - z) + dreset * r, None), ()


MATHS = GateMaths(3, _forward, _backward, _finish, _finish_backward, memory=True, late=1, late_input=True)


class Gru(Cell, kind="gru"):
    """Gated recurrent unit with the reset before the product.

        z_t = σ(W_z · [h_{t-1}, x_t])
        r_t = σ(W_r · [h_{t-1}, x_t])
        h̃_t = tanh(W · [r_t * h_{t-1}, x_t])
        h_t = (1 − z_t) * h_{t-1} + z_t * h̃_t

    z weighs the new value. torch.nn.GRU computes another function, with the reset after the product and z weighing the
    old value: kind `gru_reset_after`. Biases, off as in the lecture, are an option.

    References:
        Cho et al. (2014), Learning phrase representations using RNN encoder-decoder, arXiv:1406.1078. Notation of
        Olah (2015).
    """

    Config = GruConfig
    gates = ("reset", "update", "candidate")
    config: GruConfig

    @property
    def has_bias(self) -> bool:
        return self.config.bias

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        if self.bias is not None and self.config.chrono_t_max is not None:
            drawn = chrono_bias(self.hidden_size, self.config.chrono_t_max, generator)
            fill_gate_bias(self.bias, self.gates, "update", -drawn)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        n = self.hidden_size
        projected_rz, projected_candidate = projected.split_with_sizes([2 * n, n], dim=-1)
        r, z = self.recur(projected_rz, state.h, slice(2)).sigmoid().chunk(2, dim=-1)
        candidate = self.recur(projected_candidate, r * state.h, slice(2, 3)).tanh()
        return State(torch.lerp(state.h, candidate, z))  # lerp(a, b, z) = (1 − z) a + z b

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        rows = 2 * self.hidden_size
        r, z = self.recur(projected[:, :rows], state.h, slice(2)).sigmoid().chunk(2, dim=-1)
        return {"reset": r, "update": z}

    def kept(self, gates: Mapping[str, Tensor]) -> Tensor:
        return 1 - gates["update"]

    def native(self) -> NativeForm:
        order = ("-update", "reset", "candidate")  # ONNX's z weighs the old value
        weight_x, weight_h = (arrange(each, self.gates, order) for each in (self.weight_x, self.weight_h))
        bias = None if self.bias is None else arrange(self.bias, self.gates, order)
        return NativeForm("GRU", weight_x, weight_h, bias, attributes={"linear_before_reset": 0})

    def fast(self) -> FastForm:
        return FastForm(MATHS, self.weight_x, self.weight_h, self.bias)
