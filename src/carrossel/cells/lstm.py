"""Long short-term memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from carrossel.cells.base import Cell, FusedForm, MemoryConfig, State
from carrossel.cells.initialisation import fill_forget_bias
from carrossel.cells.kernels.form import FastForm, GateMaths
from carrossel.cells.kernels.functions import sigmoid, tanh
from carrossel.cells.onnx.form import NativeForm, arrange

if TYPE_CHECKING:
    from jaxtyping import Float


def _forward(gates: Any, before: Any, _vectors: Any) -> Any:
    i, f, candidate, o = sigmoid(gates[0]), sigmoid(gates[1]), tanh(gates[2]), sigmoid(gates[3])
    c = f * before[1] + i * candidate
    return (i, f, candidate, o), (None, c)


def _finish(gates: Any, state: Any) -> Any:
    return (), gates[3] * tanh(state[1])


def _backward(gates: Any, before: Any, after: Any, gradient: Any, _vectors: Any) -> Any:
    i, f, candidate, o = gates
    tanh_c = tanh(after[1])
    dc = gradient[1] + gradient[0] * o * (1 - tanh_c * tanh_c)
    di = dc * candidate * i * (1 - i)
    df = dc * before[1] * f * (1 - f)
    dcandidate = dc * i * (1 - candidate * candidate)
    do = gradient[0] * tanh_c * o * (1 - o)
    return (di, df, dcandidate, do), (None, dc * f), ()


MATHS = GateMaths(4, _forward, _backward, _finish, memory=True, carried=True)


class Lstm(Cell, kind="lstm"):
    """Long short-term memory with a forget gate.

        f_t = σ(W_f · [h_{t-1}, x_t] + b_f)
        i_t = σ(W_i · [h_{t-1}, x_t] + b_i)
        C̃_t = tanh(W_C · [h_{t-1}, x_t] + b_C)
        C_t = f_t * C_{t-1} + i_t * C̃_t
        o_t = σ(W_o · [h_{t-1}, x_t] + b_o)
        h_t = o_t * tanh(C_t)

    C_t passes from step to step through a sum: where f is near 1 its gradient neither fades nor grows, the constant
    error carousel.

    References:
        Hochreiter & Schmidhuber (1997), Long short-term memory; forget gate by Gers, Schmidhuber & Cummins (2000),
        Learning to forget. Notation of Olah (2015).
    """

    Config = MemoryConfig
    gates = ("input", "forget", "candidate", "output")
    has_memory = True
    config: MemoryConfig
    bias: nn.Parameter

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        fill_forget_bias(self.bias, self.gates, self.config.forget_bias, self.config.chrono_t_max, generator)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        i, f, candidate, o = self.recur(projected, state.h).chunk(4, dim=-1)
        c = f.sigmoid() * state.memory + i.sigmoid() * candidate.tanh()
        return State(o.sigmoid() * c.tanh(), c)

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        i, f, _, o = self.recur(projected, state.h).chunk(4, dim=-1)
        return {"input": i.sigmoid(), "forget": f.sigmoid(), "output": o.sigmoid()}

    def fused(self) -> FusedForm:
        return FusedForm(nn.LSTM, self.weight_x, self.weight_h, self.bias, torch.zeros_like(self.bias))

    def native(self) -> NativeForm:
        order = ("input", "output", "forget", "candidate")
        weight_x, weight_h = (arrange(each, self.gates, order) for each in (self.weight_x, self.weight_h))
        bias = arrange(self.bias, self.gates, order)
        return NativeForm("LSTM", weight_x, weight_h, bias)

    def fast(self) -> FastForm:
        return FastForm(MATHS, self.weight_x, self.weight_h, self.bias)
