"""LSTM whose gates also see their own unit's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from carrossel.cells.base import Cell, MemoryConfig, State
from carrossel.cells.initialisation import fill_forget_bias
from carrossel.cells.kernels.form import FastForm, GateMaths
from carrossel.cells.kernels.functions import sigmoid, tanh
from carrossel.cells.onnx.form import NativeForm, arrange

if TYPE_CHECKING:
    from jaxtyping import Float


def _forward(gates: Any, before: Any, vectors: Any) -> Any:
    c = before[1]
    i, f = sigmoid(gates[0] + vectors[0] * c), sigmoid(gates[1] + vectors[1] * c)
    candidate = tanh(gates[2])
    c = f * c + i * candidate
    o = sigmoid(gates[3] + vectors[2] * c)
    return (i, f, candidate, o), (None, c)


def _finish(gates: Any, state: Any) -> Any:
    return (), gates[3] * tanh(state[1])


def _backward(gates: Any, before: Any, after: Any, gradient: Any, vectors: Any) -> Any:
    i, f, candidate, o = gates
    tanh_c = tanh(after[1])
    do = gradient[0] * tanh_c * o * (1 - o)
    dc = gradient[1] + gradient[0] * o * (1 - tanh_c * tanh_c) + do * vectors[2]
    di = dc * candidate * i * (1 - i)
    df = dc * before[1] * f * (1 - f)
    dcandidate = dc * i * (1 - candidate * candidate)
    dc = dc * f + di * vectors[0] + df * vectors[1]
    return (di, df, dcandidate, do), (None, dc), (di * before[1], df * before[1], do * after[1])


MATHS = GateMaths(4, _forward, _backward, _finish, memory=True, carried=True, vectors=3)


class PeepholeDiagonal(Cell, kind="peephole_diagonal"):
    """LSTM whose gates also see their own unit's memory, one weight per unit and gate.

        f_t = σ(W_f · [h_{t-1}, x_t] + p_f * C_{t-1} + b_f)
        i_t = σ(W_i · [h_{t-1}, x_t] + p_i * C_{t-1} + b_i)
        C̃_t = tanh(W_C · [h_{t-1}, x_t] + b_C)
        C_t = f_t * C_{t-1} + i_t * C̃_t
        o_t = σ(W_o · [h_{t-1}, x_t] + p_o * C_t + b_o)      # note C_t
        h_t = o_t * tanh(C_t)

    The peephole weights start at zero, so training starts from the plain LSTM and what it does better is theirs.

    Attributes:
        weight_c: peephole vectors p_i, p_f, p_o, [3, hidden].

    References:
        Gers & Schmidhuber (2000), Recurrent nets that time and count.
    """

    Config = MemoryConfig
    gates = ("input", "forget", "candidate", "output")
    has_memory = True
    config: MemoryConfig
    bias: nn.Parameter
    weight_c: nn.Parameter

    def add_parameters(self) -> None:
        self.weight_c = nn.Parameter(torch.empty(3, self.hidden_size))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        nn.init.zeros_(self.weight_c)
        fill_forget_bias(self.bias, self.gates, self.config.forget_bias, self.config.chrono_t_max, generator)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        p_i, p_f, p_o = self.weight_c.unbind()
        i, f, candidate, o = self.recur(projected, state.h).chunk(4, dim=-1)
        i = torch.addcmul(i, p_i, state.memory).sigmoid()
        f = torch.addcmul(f, p_f, state.memory).sigmoid()
        c = f * state.memory + i * candidate.tanh()
        o = torch.addcmul(o, p_o, c).sigmoid()
        return State(o * c.tanh(), c)

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        i, f, _, o = self.recur(projected, state.h).chunk(4, dim=-1)
        before, after = state.memory, self.step(projected, state).memory
        seen = zip((i, f, o), self.weight_c.unbind(), (before, before, after), strict=True)
        i, f, o = (torch.addcmul(gate, p, c).sigmoid() for gate, p, c in seen)
        return {"input": i, "forget": f, "output": o}

    def native(self) -> NativeForm:
        order = ("input", "output", "forget", "candidate")
        weight_x, weight_h = (arrange(each, self.gates, order) for each in (self.weight_x, self.weight_h))
        bias = arrange(self.bias, self.gates, order)
        p_i, p_f, p_o = self.weight_c.unbind()
        return NativeForm("LSTM", weight_x, weight_h, bias, peephole=torch.cat([p_i, p_o, p_f]))

    def fast(self) -> FastForm:
        return FastForm(MATHS, self.weight_x, self.weight_h, self.bias, vectors=self.weight_c)
