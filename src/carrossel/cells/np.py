"""LSTM without peepholes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from carrossel.cells.ablations import Variant
from carrossel.cells.base import FusedForm, State
from carrossel.cells.kernels.form import GateMaths
from carrossel.cells.kernels.functions import sigmoid, tanh

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


class NoPeepholes(Variant, kind="np"):
    """LSTM without peepholes: the same function as `lstm`, under the name it has beside its siblings.

        f_t = σ(W_f · [h_{t-1}, x_t] + b_f)
        i_t = σ(W_i · [h_{t-1}, x_t] + b_i)
        C̃_t = tanh(W_C · [h_{t-1}, x_t] + b_C)
        C_t = f_t * C_{t-1} + i_t * C̃_t
        o_t = σ(W_o · [h_{t-1}, x_t] + b_o)
        h_t = o_t * tanh(C_t)

    References:
        Greff et al. (2017), LSTM: a search space odyssey, arXiv:1503.04069, variant NP: p_i = p_f = p_o = 0 in the
        vanilla LSTM.
    """

    peepholes = ()
    maths = GateMaths(4, _forward, _backward, _finish, memory=True, carried=True)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        i, f, candidate, o = self.recur(projected, state.h).chunk(4, dim=-1)
        c = f.sigmoid() * state.memory + i.sigmoid() * candidate.tanh()
        return State(o.sigmoid() * c.tanh(), c)

    def fused(self) -> FusedForm:
        return FusedForm(nn.LSTM, self.weight_x, self.weight_h, self.bias, torch.zeros_like(self.bias))
