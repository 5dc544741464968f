"""LSTM of which only the forget gate is left."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import Field

from carrossel.cells.base import Cell, MemoryConfig, State
from carrossel.cells.initialisation import fill_forget_bias
from carrossel.cells.kernels.form import FastForm, GateMaths
from carrossel.cells.kernels.functions import sigmoid, tanh

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor, nn


class JanetConfig(MemoryConfig):
    """Settings of JANET."""

    beta: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="How much more is written than forgotten, as a shift of the gate; 0 writes exactly what is forgotten.",
    )


def _forward(gates: Any, before: Any, vectors: Any) -> Any:
    f, candidate = sigmoid(gates[0]), tanh(gates[1])
    shut = (1 - f) * vectors[0]
    h = f * before[0] + shut / (f + shut) * candidate
    return (f, candidate), (h, None)


def _backward(gates: Any, before: Any, _after: Any, gradient: Any, vectors: Any) -> Any:
    f, candidate = gates
    dh, k = gradient[0], vectors[0]
    inverse = 1 / (f + (1 - f) * k)
    written = (1 - f) * k * inverse
    df = dh * (before[0] - candidate * k * inverse * inverse) * f * (1 - f)
    dcandidate = dh * written * (1 - candidate * candidate)
    dk = dh * candidate * f * (1 - f) * inverse * inverse
    return (df, dcandidate), (dh * f, None), (dk,)


MATHS = GateMaths(2, _forward, _backward, vectors=1)


class Janet(Cell, kind="janet"):
    """Just another network: an LSTM with the forget gate alone.

        s_t = W_f · [h_{t-1}, x_t] + b_f
        c̃_t = tanh(W_c · [h_{t-1}, x_t] + b_c)
        c_t = σ(s_t) * c_{t-1} + (1 − σ(s_t − β)) * c̃_t
        h_t = c_t

    With β > 0 a little more is written than forgotten, so a memory can grow beyond what is written in one step. h is the
    memory; there is no C besides.

    References:
        van der Westhuizen & Lasenby (2018), The unreasonable effectiveness of the forget gate, arXiv:1804.04849, with
        β = 1 and chrono initialisation of b_f.
    """

    Config = JanetConfig
    gates = ("forget", "candidate")
    config: JanetConfig
    bias: nn.Parameter

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        fill_forget_bias(self.bias, self.gates, self.config.forget_bias, self.config.chrono_t_max, generator)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        s, candidate = self.recur(projected, state.h).chunk(2, dim=-1)
        f = s.sigmoid()
        shut = (1 - f) * self._shift  # e^(β − s) = e^β (1 − f) / f, so 1 − σ(s − β) needs no second σ
        return State(f * state.h + shut / (f + shut) * candidate.tanh())

    @property
    def _shift(self) -> float:
        return math.exp(self.config.beta)

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        s, _ = self.recur(projected, state.h).chunk(2, dim=-1)
        return {"forget": s.sigmoid()}

    def fast(self) -> FastForm:
        # β as a vector: gate maths are one object for all cells of a kind, and it is no part of them
        shift = self.weight_x.new_full((1, self.hidden_size), self._shift)
        return FastForm(MATHS, self.weight_x, self.weight_h, self.bias, vectors=shift)
