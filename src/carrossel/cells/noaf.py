"""LSTM without an output activation function."""

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
    c, candidate = before[1], tanh(gates[2])
    i, f = sigmoid(gates[0] + vectors[0] * c), sigmoid(gates[1] + vectors[1] * c)
    c = f * c + i * candidate
    o = sigmoid(gates[3] + vectors[2] * c)
    return (i, f, candidate, o), (None, c)


def _finish(gates: Any, state: Any) -> Any:
    return (), gates[3] * state[1]


def _backward(gates: Any, before: Any, after: Any, gradient: Any, vectors: Any) -> Any:
    i, f, candidate, o = gates
    do = gradient[0] * after[1] * o * (1 - o)
    dc = gradient[1] + gradient[0] * o + do * vectors[2]
    di = dc * candidate * i * (1 - i)
    df = dc * before[1] * f * (1 - f)
    dcandidate = dc * i * (1 - candidate * candidate)
    dc = dc * f + di * vectors[0] + df * vectors[1]
    return (di, df, dcandidate, do), (None, dc), (di * before[1], df * before[1], do * after[1])


class NoOutputActivation(Variant, kind="noaf"):
    """LSTM without an output activation function: the memory is shown as it is, so nothing bounds h.

        f_t = σ(W_f · [h_{t-1}, x_t] + p_f * C_{t-1} + b_f)
        i_t = σ(W_i · [h_{t-1}, x_t] + p_i * C_{t-1} + b_i)
        C̃_t = tanh(W_C · [h_{t-1}, x_t] + b_C)
        C_t = f_t * C_{t-1} + i_t * C̃_t
        o_t = σ(W_o · [h_{t-1}, x_t] + p_o * C_t + b_o)
        h_t = o_t * C_t

    Attributes:
        weight_c: peephole vectors p_i, p_f, p_o, [3, hidden].

    References:
        Greff et al. (2017), LSTM: a search space odyssey, arXiv:1503.04069, variant NOAF: h(x) = x in the vanilla LSTM.
    """

    activations = ("Sigmoid", "Tanh", "Affine")
    maths = GateMaths(4, _forward, _backward, _finish, memory=True, carried=True, vectors=3)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        p_i, p_f, p_o = self.weight_c.unbind()
        i, f, candidate, o = self.recur(projected, state.h).chunk(4, dim=-1)
        i = torch.addcmul(i, p_i, state.memory).sigmoid()
        f = torch.addcmul(f, p_f, state.memory).sigmoid()
        c = f * state.memory + i * candidate.tanh()
        o = torch.addcmul(o, p_o, c).sigmoid()
        return State(o * c, c)
