"""Gated recurrent unit, as torch and cuDNN compute it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from carrossel.cells.base import Cell, CellConfig, FusedForm, State
from carrossel.cells.initialisation import chrono_bias, fill_gate_bias
from carrossel.cells.kernels.form import FastForm, GateMaths
from carrossel.cells.kernels.functions import sigmoid, tanh
from carrossel.cells.onnx.form import NativeForm, arrange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float


class GruResetAfterConfig(CellConfig):
    """Settings of torch's gated recurrent unit."""

    bias: bool = Field(default=True, description="Whether gates and candidate have biases, as torch.nn.GRU's have.")
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
    candidate = tanh(gates[2] + r * gates[3])
    return (r, z, candidate, gates[3]), (candidate + z * (before[0] - candidate), None)


def _backward(gates: Any, before: Any, _after: Any, gradient: Any, _vectors: Any) -> Any:
    r, z, candidate, of_h = gates
    dh = gradient[0]
    dcandidate = dh * (1 - z) * (1 - candidate * candidate)
    dr = dcandidate * of_h * r * (1 - r)
    dz = dh * (before[0] - candidate) * z * (1 - z)
    return (dr, dz, dcandidate, dcandidate * r), (dh * z, None), ()


MATHS = GateMaths(4, _forward, _backward)


class GruResetAfter(Cell, kind="gru_reset_after"):
    """Gated recurrent unit with the reset after the product: torch.nn.GRU's form.

        r_t = σ(W_r · [h_{t-1}, x_t] + b_r)
        z_t = σ(W_z · [h_{t-1}, x_t] + b_z)
        h̃_t = tanh(W_x x_t + b + r_t * (W_h h_{t-1} + b_h))
        h_t = (1 − z_t) * h̃_t + z_t * h_{t-1}

    z weighs the old value, the other way round than in kind `gru`.

    Attributes:
        bias_h: b_h, the candidate's bias inside the reset, [hidden]; None without biases.

    References:
        Cho et al. (2014), arXiv:1406.1078v1, whose reset is applied after the product; form of torch.nn.GRU, with the
        gates' two biases, which only ever act as a sum, kept as one.
    """

    Config = GruResetAfterConfig
    gates = ("reset", "update", "candidate")
    config: GruResetAfterConfig
    bias_h: nn.Parameter | None

    @property
    def has_bias(self) -> bool:
        return self.config.bias

    def add_parameters(self) -> None:
        self.register_parameter("bias_h", nn.Parameter(torch.empty(self.hidden_size)) if self.has_bias else None)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        if self.bias_h is not None:
            nn.init.zeros_(self.bias_h)
        if self.bias is not None and self.config.chrono_t_max is not None:
            drawn = chrono_bias(self.hidden_size, self.config.chrono_t_max, generator)
            fill_gate_bias(self.bias, self.gates, "update", drawn)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        n = self.hidden_size
        projected_rz, projected_candidate = projected.split_with_sizes([2 * n, n], dim=-1)
        r, z = self.recur(projected_rz, state.h, slice(2)).sigmoid().chunk(2, dim=-1)
        bias_h = self.weight_h.new_zeros(n) if self.bias_h is None else self.bias_h
        of_h = self.recur(bias_h, state.h, slice(2, 3), bias=bias_h)
        candidate = torch.addcmul(projected_candidate, r, of_h).tanh()
        return State(torch.lerp(candidate, state.h, z))  # lerp(a, b, z) = (1 − z) a + z b

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        rows = 2 * self.hidden_size
        r, z = self.recur(projected[:, :rows], state.h, slice(2)).sigmoid().chunk(2, dim=-1)
        return {"reset": r, "update": z}

    def kept(self, gates: Mapping[str, Tensor]) -> Tensor:
        return gates["update"]

    def fused(self) -> FusedForm:
        if self.bias is None or self.bias_h is None:
            return FusedForm(nn.GRU, self.weight_x, self.weight_h, None, None)
        bias_hh = torch.cat([self.bias_h.new_zeros(2 * self.hidden_size), self.bias_h])
        return FusedForm(nn.GRU, self.weight_x, self.weight_h, self.bias, bias_hh)

    def native(self) -> NativeForm:
        order = ("update", "reset", "candidate")
        weight_x, weight_h = (arrange(each, self.gates, order) for each in (self.weight_x, self.weight_h))
        if self.bias is None or self.bias_h is None:
            return NativeForm("GRU", weight_x, weight_h, None, attributes={"linear_before_reset": 1})
        bias_h = torch.cat([self.bias_h.new_zeros(2 * self.hidden_size), self.bias_h])
        bias = arrange(self.bias, self.gates, order)
        return NativeForm("GRU", weight_x, weight_h, bias, bias_h, attributes={"linear_before_reset": 1})

    def fast(self) -> FastForm:
        """With four blocks: of the candidate, what comes from x and what comes from h stay apart."""
        n = self.hidden_size
        weight_x = torch.cat([self.weight_x, self.weight_x.new_zeros(n, self.input_size)])
        weight_rz, weight_candidate = self.weight_h.split_with_sizes([2 * n, n])
        weight_h = torch.cat([weight_rz, torch.zeros_like(weight_candidate), weight_candidate])
        bias = None if self.bias is None or self.bias_h is None else torch.cat([self.bias, self.bias_h])
        return FastForm(MATHS, weight_x, weight_h, bias)
