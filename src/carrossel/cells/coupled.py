"""LSTM that forgets exactly where it writes."""

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
    f, candidate, o = sigmoid(gates[0]), tanh(gates[1]), sigmoid(gates[2])
    c = candidate + f * (before[1] - candidate)
    return (f, candidate, o), (None, c)


def _finish(gates: Any, state: Any) -> Any:
    return (), gates[2] * tanh(state[1])


def _backward(gates: Any, before: Any, after: Any, gradient: Any, _vectors: Any) -> Any:
    f, candidate, o = gates
    tanh_c = tanh(after[1])
    dc = gradient[1] + gradient[0] * o * (1 - tanh_c * tanh_c)
    df = dc * (before[1] - candidate) * f * (1 - f)
    dcandidate = dc * (1 - f) * (1 - candidate * candidate)
    do = gradient[0] * tanh_c * o * (1 - o)
    return (df, dcandidate, do), (None, dc * f), ()


MATHS = GateMaths(3, _forward, _backward, _finish, memory=True, carried=True)


class Coupled(Cell, kind="coupled"):
    """LSTM with input and forget gate coupled: it forgets exactly where it writes.

        f_t = σ(W_f · [h_{t-1}, x_t] + b_f)
        C̃_t = tanh(W_C · [h_{t-1}, x_t] + b_C)
        C_t = f_t * C_{t-1} + (1 − f_t) * C̃_t
        o_t = σ(W_o · [h_{t-1}, x_t] + b_o)
        h_t = o_t * tanh(C_t)

    Since 1 − σ(a) = σ(−a), it's an LSTM whose input gate has the forget gate's weights negated, and runs as one.

    References:
        Greff et al. (2017), LSTM: a search space odyssey, variant CIFG. Notation of Olah (2015).
    """

    Config = MemoryConfig
    gates = ("forget", "candidate", "output")
    has_memory = True
    config: MemoryConfig
    bias: nn.Parameter

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        fill_forget_bias(self.bias, self.gates, self.config.forget_bias, self.config.chrono_t_max, generator)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        f, candidate, o = self.recur(projected, state.h).chunk(3, dim=-1)
        c = torch.lerp(candidate.tanh(), state.memory, f.sigmoid())  # lerp(a, b, f) = (1 − f) a + f b
        return State(o.sigmoid() * c.tanh(), c)

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        f, _, o = self.recur(projected, state.h).chunk(3, dim=-1)
        return {"forget": f.sigmoid(), "output": o.sigmoid()}

    def fused(self) -> FusedForm:
        weight_x, weight_h, bias = (
            torch.cat([-blocks[: self.hidden_size], blocks]) for blocks in (self.weight_x, self.weight_h, self.bias)
        )
        return FusedForm(nn.LSTM, weight_x, weight_h, bias, torch.zeros_like(bias))

    def native(self) -> NativeForm:
        order = ("-forget", "output", "forget", "candidate")
        weight_x, weight_h = (arrange(each, self.gates, order) for each in (self.weight_x, self.weight_h))
        bias = arrange(self.bias, self.gates, order)
        return NativeForm("LSTM", weight_x, weight_h, bias)

    def fast(self) -> FastForm:
        return FastForm(MATHS, self.weight_x, self.weight_h, self.bias)
