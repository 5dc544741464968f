"""LSTM whose gates also see the memory, through full matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from carrossel.cells.base import Cell, MemoryConfig, State
from carrossel.cells.initialisation import fill_forget_bias
from carrossel.cells.kernels.form import FastForm, GateMaths
from carrossel.cells.kernels.functions import sigmoid, tanh

if TYPE_CHECKING:
    from jaxtyping import Float


def _forward(gates: Any, before: Any, _vectors: Any) -> Any:
    i, f, candidate = sigmoid(gates[0]), sigmoid(gates[1]), tanh(gates[2])
    return (i, f, candidate, gates[3]), (None, f * before[1] + i * candidate)


def _finish(gates: Any, state: Any) -> Any:
    o = sigmoid(gates[3])
    return (o,), o * tanh(state[1])


def _finish_backward(gates: Any, state: Any, gradient: Any) -> Any:
    o, tanh_c = gates[3], tanh(state[1])
    return (gradient[0] * tanh_c * o * (1 - o),), gradient[1] + gradient[0] * o * (1 - tanh_c * tanh_c)


def _backward(gates: Any, before: Any, _after: Any, gradient: Any, _vectors: Any) -> Any:
    i, f, candidate, _o = gates
    dc = gradient[1]
    di = dc * candidate * i * (1 - i)
    df = dc * before[1] * f * (1 - f)
    return (di, df, dc * i * (1 - candidate * candidate)), (None, dc * f), ()


MATHS = GateMaths(4, _forward, _backward, _finish, _finish_backward, memory=True, carried=True, looked=2, late=1)


class Peephole(Cell, kind="peephole"):
    """LSTM whose gates also see the memory, as the lecture writes it.

        f_t = σ(W_f · [C_{t-1}, h_{t-1}, x_t] + b_f)
        i_t = σ(W_i · [C_{t-1}, h_{t-1}, x_t] + b_i)
        C̃_t = tanh(W_C · [h_{t-1}, x_t] + b_C)
        C_t = f_t * C_{t-1} + i_t * C̃_t
        o_t = σ(W_o · [C_t, h_{t-1}, x_t] + b_o)      # note C_t
        h_t = o_t * tanh(C_t)

    The peephole weights start at zero, so training starts from the plain LSTM and what it does better is theirs.

    Attributes:
        weight_c: peephole matrices, [3·hidden, hidden], blocks input, forget, output.

    References:
        Gers & Schmidhuber (2000), Recurrent nets that time and count, who have vectors (kind `peephole_diagonal`); full
        matrices as in Olah (2015), Understanding LSTM networks.
    """

    Config = MemoryConfig
    gates = ("input", "forget", "candidate", "output")
    has_memory = True
    config: MemoryConfig
    bias: nn.Parameter
    weight_c: nn.Parameter

    def add_parameters(self) -> None:
        self.weight_c = nn.Parameter(torch.empty(3 * self.hidden_size, self.hidden_size))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        nn.init.zeros_(self.weight_c)
        fill_forget_bias(self.bias, self.gates, self.config.forget_bias, self.config.chrono_t_max, generator)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        n = self.hidden_size
        peephole_if, peephole_o = self.weight_c.split_with_sizes([2 * n, n])
        gates_if, candidate, gate_o = self.recur(projected, state.h).split_with_sizes([2 * n, n, n], dim=-1)
        i, f = torch.addmm(gates_if, state.memory, peephole_if.t()).sigmoid().chunk(2, dim=-1)
        c = f * state.memory + i * candidate.tanh()
        o = torch.addmm(gate_o, c, peephole_o.t()).sigmoid()
        return State(o * c.tanh(), c)

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        n = self.hidden_size
        peephole_if, peephole_o = self.weight_c.split_with_sizes([2 * n, n])
        gates_if, _, gate_o = self.recur(projected, state.h).split_with_sizes([2 * n, n, n], dim=-1)
        i, f = torch.addmm(gates_if, state.memory, peephole_if.t()).sigmoid().chunk(2, dim=-1)
        c = self.step(projected, state).memory
        return {"input": i, "forget": f, "output": torch.addmm(gate_o, c, peephole_o.t()).sigmoid()}

    def fast(self) -> FastForm:
        return FastForm(MATHS, self.weight_x, self.weight_h, self.bias, weight_m=self.weight_c)
