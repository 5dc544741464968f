"""LSTM without an input gate."""

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
    f, candidate = sigmoid(gates[0] + vectors[0] * c), tanh(gates[1])
    c = f * c + candidate
    o = sigmoid(gates[2] + vectors[1] * c)
    return (f, candidate, o), (None, c)


def _finish(gates: Any, state: Any) -> Any:
    return (), gates[2] * tanh(state[1])


def _backward(gates: Any, before: Any, after: Any, gradient: Any, vectors: Any) -> Any:
    f, candidate, o = gates
    tanh_c = tanh(after[1])
    do = gradient[0] * tanh_c * o * (1 - o)
    dc = gradient[1] + gradient[0] * o * (1 - tanh_c * tanh_c) + do * vectors[1]
    df = dc * before[1] * f * (1 - f)
    dcandidate = dc * (1 - candidate * candidate)
    dc = dc * f + df * vectors[0]
    return (df, dcandidate, do), (None, dc), (df * before[1], do * after[1])


class NoInputGate(Variant, kind="nig"):
    """LSTM without an input gate: everything is written to the memory.

        f_t = σ(W_f · [h_{t-1}, x_t] + p_f * C_{t-1} + b_f)
        C̃_t = tanh(W_C · [h_{t-1}, x_t] + b_C)
        C_t = f_t * C_{t-1} + C̃_t
        o_t = σ(W_o · [h_{t-1}, x_t] + p_o * C_t + b_o)
        h_t = o_t * tanh(C_t)

    Attributes:
        weight_c: peephole vectors p_f, p_o, [2, hidden].

    References:
        Greff et al. (2017), LSTM: a search space odyssey, arXiv:1503.04069, variant NIG: i_t = 1 in the vanilla LSTM.
    """

    gates = ("forget", "candidate", "output")
    peepholes = ("forget", "output")
    maths = GateMaths(3, _forward, _backward, _finish, memory=True, carried=True, vectors=2)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        p_f, p_o = self.weight_c.unbind()
        f, candidate, o = self.recur(projected, state.h).chunk(3, dim=-1)
        f = torch.addcmul(f, p_f, state.memory).sigmoid()
        c = f * state.memory + candidate.tanh()
        o = torch.addcmul(o, p_o, c).sigmoid()
        return State(o * c.tanh(), c)
