"""LSTM whose gates also see all gates of the step before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from carrossel.cells.ablations import Variant
from carrossel.cells.base import State

if TYPE_CHECKING:
    from jaxtyping import Float


class FullGateRecurrence(Variant, kind="fgr"):
    """LSTM with full gate recurrence: gates also see all gates of the step before.

        f_t = σ(W_f · [h_{t-1}, x_t] + R_f · [i_{t-1}, f_{t-1}, o_{t-1}] + p_f * C_{t-1} + b_f)
        i_t = σ(W_i · [h_{t-1}, x_t] + R_i · [i_{t-1}, f_{t-1}, o_{t-1}] + p_i * C_{t-1} + b_i)
        C̃_t = tanh(W_C · [h_{t-1}, x_t] + b_C)
        C_t = f_t * C_{t-1} + i_t * C̃_t
        o_t = σ(W_o · [h_{t-1}, x_t] + R_o · [i_{t-1}, f_{t-1}, o_{t-1}] + p_o * C_t + b_o)
        h_t = o_t * tanh(C_t)

    Nine more matrices than the vanilla LSTM. They start at zero, as the peepholes do: training starts from the plain LSTM.
    Before the first step all gates are 0. The state's memory holds C, i, f and o side by side.

    Attributes:
        weight_c: peephole vectors p_i, p_f, p_o, [3, hidden].
        weight_g: R_i, R_f, R_o beneath one another, each on [i, f, o]; [3·hidden, 3·hidden].

    References:
        Greff et al. (2017), LSTM: a search space odyssey, arXiv:1503.04069, variant FGR, after Hochreiter & Schmidhuber
        (1997), Long short-term memory.
    """

    memory_parts = 4
    weight_g: nn.Parameter

    def add_parameters(self) -> None:
        super().add_parameters()
        self.weight_g = nn.Parameter(torch.empty(3 * self.hidden_size, 3 * self.hidden_size))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        nn.init.zeros_(self.weight_g)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        n = self.hidden_size
        p_i, p_f, p_o = self.weight_c.unbind()
        c, gates = state.memory.split_with_sizes([n, 3 * n], dim=-1)
        i, f, candidate, o = self.recur(projected, state.h).chunk(4, dim=-1)
        r_i, r_f, r_o = nn.functional.linear(gates, self.weight_g).chunk(3, dim=-1)
        i = torch.addcmul(i + r_i, p_i, c).sigmoid()
        f = torch.addcmul(f + r_f, p_f, c).sigmoid()
        c = f * c + i * candidate.tanh()
        o = torch.addcmul(o + r_o, p_o, c).sigmoid()
        memory = torch.cat([c, i, f, o], dim=-1)
        c, _, _, o = memory.chunk(
            4, dim=-1
        )  # out of the state itself: the gradient by it has the path through h_t, too
        return State(o * c.tanh(), memory)

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        _, i, f, o = self.step(projected, state).memory.chunk(4, dim=-1)
        return {"input": i, "forget": f, "output": o}

    def native(self) -> None:
        return None  # ONNX's LSTM keeps no gates
