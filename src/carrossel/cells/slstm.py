"""Long short-term memory with exponential gates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from carrossel.cells.base import Cell, MemoryConfig, State
from carrossel.cells.initialisation import fill_forget_bias

if TYPE_CHECKING:
    from jaxtyping import Float


class SlstmConfig(MemoryConfig):
    """Settings of the long short-term memory with exponential gates."""

    forget: Literal["sigmoid", "exponential"] = Field(
        default="sigmoid",
        description="The forget gate's function. Both start at the same f: forget_bias and chrono_t_max are about σ.",
    )


class Slstm(Cell, kind="slstm"):
    """Long short-term memory whose input gate is an exponential, with a normaliser: the sLSTM of xLSTM, with one head.

        z_t = tanh(W_z · [h_{t-1}, x_t] + b_z)
        i_t = exp(ĩ_t),  ĩ_t = W_i · [h_{t-1}, x_t] + b_i
        f_t = σ(f̃_t) or exp(f̃_t),  f̃_t = W_f · [h_{t-1}, x_t] + b_f
        o_t = σ(W_o · [h_{t-1}, x_t] + b_o)
        m_t = max(log f_t + m_{t-1}, log i_t)
        c_t = f'_t * c_{t-1} + i'_t * z_t,  f'_t = exp(log f_t + m_{t-1} − m_t)
        n_t = f'_t * n_{t-1} + i'_t,        i'_t = exp(log i_t − m_t)
        h_t = o_t * c_t / n_t

    An exponential gate has no upper end, so what is new can outweigh all that is stored: the cell can revise what it
    decided. m keeps the exponentials from overflowing and cancels from c / n. C holds c, n and m side by side; from
    zeros, where n is 0, m_1 = log i_1, so that n is at least 1 after any step. The paper leaves the forget gate open; σ
    is what its authors' code uses. Their block-diagonal heads aren't here: each unit sees all of h.

    References:
        Beck et al. (2024), xLSTM: extended long short-term memory, arXiv:2405.04517, equations 8 to 17.
    """

    Config = SlstmConfig
    gates = ("input", "forget", "candidate", "output")
    has_memory = True
    memory_parts = 3
    config: SlstmConfig
    bias: nn.Parameter

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        fill_forget_bias(self.bias, self.gates, self.config.forget_bias, self.config.chrono_t_max, generator)
        if self.config.forget == "exponential":
            block = self.bias.detach().chunk(4)[self.gates.index("forget")]
            block.copy_(logsigmoid(block))

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        i, f, candidate, o = self.recur(projected, state.h).chunk(4, dim=-1)
        c, n, m_before = state.memory.chunk(3, dim=-1)
        kept, added, m = self._stabilise(i, f, n, m_before)
        memory = torch.cat([kept * c + added * candidate.tanh(), kept * n + added, m], dim=-1)
        c, n, _ = memory.chunk(3, dim=-1)  # out of the state itself: the gradient by it has the path through h_t, too
        return State(o.sigmoid() * c / n, memory)

    def _stabilise(self, i: Tensor, f: Tensor, n: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f', i' and the new m."""
        passed = (logsigmoid(f) if self.config.forget == "sigmoid" else f) + m
        passed = torch.where(n == 0, i, passed)  # nothing is stored yet that could set a scale
        m = torch.maximum(passed, i)
        return (passed - m).exp(), (i - m).exp(), m

    def advance(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        """As every cell's; the mean of old and new c and n is taken in the units of one m, since both are in units of exp(m)."""
        share = self.config.zoneout
        if self.training or not share:
            return super().advance(projected, state)
        after = self.step(projected, state)
        (c_old, n_old, m_old), (c_new, n_new, m_new) = (each.memory.chunk(3, dim=-1) for each in (state, after))
        m_old = torch.where(n_old == 0, m_new, m_old)
        m = torch.maximum(m_old, m_new)
        old, new = share * (m_old - m).exp(), (1 - share) * (m_new - m).exp()
        c = torch.cat([old * c_old + new * c_new, old * n_old + new * n_new, m], dim=-1)
        return State(torch.lerp(after.h, state.h, share), c)

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        """Shares, since an exponential has no upper end: how much of c / n is old (`forget`), and how much new (`input`).

        c_t / n_t = forget * c_{t-1} / n_{t-1} + input * z_t, and the two add up to one.
        """
        i, f, _, o = self.recur(projected, state.h).chunk(4, dim=-1)
        _, n_before, m = state.memory.chunk(3, dim=-1)
        kept, added, _ = self._stabilise(i, f, n_before, m)
        n = kept * n_before + added
        return {"input": added / n, "forget": kept * n_before / n, "output": o.sigmoid()}
