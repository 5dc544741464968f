"""LSTM without a forget gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from carrossel.cells.ablations import Variant
from carrossel.cells.base import CellConfig, State
from carrossel.cells.kernels.form import GateMaths
from carrossel.cells.kernels.functions import sigmoid, tanh

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float


def _forward(gates: Any, before: Any, vectors: Any) -> Any:
    c = before[1]
    i, candidate = sigmoid(gates[0] + vectors[0] * c), tanh(gates[1])
    c = c + i * candidate
    o = sigmoid(gates[2] + vectors[1] * c)
    return (i, candidate, o), (None, c)


def _finish(gates: Any, state: Any) -> Any:
    return (), gates[2] * tanh(state[1])


def _backward(gates: Any, before: Any, after: Any, gradient: Any, vectors: Any) -> Any:
    i, candidate, o = gates
    tanh_c = tanh(after[1])
    do = gradient[0] * tanh_c * o * (1 - o)
    dc = gradient[1] + gradient[0] * o * (1 - tanh_c * tanh_c) + do * vectors[1]
    di = dc * candidate * i * (1 - i)
    dcandidate = dc * i * (1 - candidate * candidate)
    dc = dc + di * vectors[0]
    return (di, dcandidate, do), (None, dc), (di * before[1], do * after[1])


class NoForgetGate(Variant, kind="nfg"):
    """LSTM without a forget gate: the memory keeps all it ever got, as in the LSTM of 1997.

        i_t = σ(W_i · [h_{t-1}, x_t] + p_i * C_{t-1} + b_i)
        C̃_t = tanh(W_C · [h_{t-1}, x_t] + b_C)
        C_t = C_{t-1} + i_t * C̃_t
        o_t = σ(W_o · [h_{t-1}, x_t] + p_o * C_t + b_o)
        h_t = o_t * tanh(C_t)

    There is no forget bias and no chrono initialisation to choose.

    Attributes:
        weight_c: peephole vectors p_i, p_o, [2, hidden].

    References:
        Greff et al. (2017), LSTM: a search space odyssey, arXiv:1503.04069, variant NFG: f_t = 1 in the vanilla LSTM.
    """

    Config = CellConfig
    gates = ("input", "candidate", "output")
    peepholes = ("input", "output")
    maths = GateMaths(3, _forward, _backward, _finish, memory=True, carried=True, vectors=2)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        p_i, p_o = self.weight_c.unbind()
        i, candidate, o = self.recur(projected, state.h).chunk(3, dim=-1)
        i = torch.addcmul(i, p_i, state.memory).sigmoid()
        c = state.memory + i * candidate.tanh()
        o = torch.addcmul(o, p_o, c).sigmoid()
        return State(o * c.tanh(), c)

    def kept(self, gates: Mapping[str, Tensor]) -> Tensor:
        return torch.ones_like(gates["input"])
