"""LSTM without an output gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from carrossel.cells.ablations import Variant
from carrossel.cells.base import State
from carrossel.cells.kernels.form import GateMaths
from carrossel.cells.kernels.functions import sigmoid, tanh

if TYPE_CHECKING:
    from jaxtyping import Float


def _forward(gates: Any, before: Any, vectors: Any) -> Any:
    c = before[1]
    i, f = sigmoid(gates[0] + vectors[0] * c), sigmoid(gates[1] + vectors[1] * c)
    candidate = tanh(gates[2])
    return (i, f, candidate), (None, f * c + i * candidate)


def _finish(_gates: Any, state: Any) -> Any:
    return (), tanh(state[1])


def _backward(gates: Any, before: Any, after: Any, gradient: Any, vectors: Any) -> Any:
    i, f, candidate = gates
    tanh_c = tanh(after[1])
    dc = gradient[1] + gradient[0] * (1 - tanh_c * tanh_c)
    di = dc * candidate * i * (1 - i)
    df = dc * before[1] * f * (1 - f)
    dcandidate = dc * i * (1 - candidate * candidate)
    dc = dc * f + di * vectors[0] + df * vectors[1]
    return (di, df, dcandidate), (None, dc), (di * before[1], df * before[1])


class NoOutputGate(Variant, kind="nog"):
    """LSTM without an output gate: the whole memory is always shown.

        f_t = σ(W_f · [h_{t-1}, x_t] + p_f * C_{t-1} + b_f)
        i_t = σ(W_i · [h_{t-1}, x_t] + p_i * C_{t-1} + b_i)
        C̃_t = tanh(W_C · [h_{t-1}, x_t] + b_C)
        C_t = f_t * C_{t-1} + i_t * C̃_t
        h_t = tanh(C_t)

    Attributes:
        weight_c: peephole vectors p_i, p_f, [2, hidden].

    References:
        Greff et al. (2017), LSTM: a search space odyssey, arXiv:1503.04069, variant NOG: o_t = 1 in the vanilla LSTM.
    """

    gates = ("input", "forget", "candidate")
    peepholes = ("input", "forget")
    maths = GateMaths(3, _forward, _backward, _finish, memory=True, carried=True, vectors=2)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        p_i, p_f = self.weight_c.unbind()
        i, f, candidate = self.recur(projected, state.h).chunk(3, dim=-1)
        i = torch.addcmul(i, p_i, state.memory).sigmoid()
        f = torch.addcmul(f, p_f, state.memory).sigmoid()
        c = f * state.memory + i * candidate.tanh()
        return State(c.tanh(), c)
