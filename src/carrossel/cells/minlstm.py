"""Minimal long short-term memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrossel.cells.base import MemoryConfig
from carrossel.cells.initialisation import fill_forget_bias
from carrossel.cells.kernels.form import FastForm, GateMaths
from carrossel.cells.kernels.functions import sigmoid
from carrossel.cells.linear_recurrence import ParallelCell, ParallelConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from jaxtyping import Float
    from torch import Tensor, nn

    from carrossel.cells.base import State


class MinLstmConfig(ParallelConfig, MemoryConfig):
    """Settings of the minimal long short-term memory."""


NOTHING = 1e-30
"""Added to f + i: where both have underflowed, their shares and the gradients of these are 0 and not NaN."""


def _forward(gates: Any, before: Any, _vectors: Any) -> Any:
    i, f, candidate = sigmoid(gates[0]), sigmoid(gates[1]), gates[2]
    total = f + i + NOTHING
    return (i, f, candidate), (f / total * before[0] + i / total * candidate, None)


def _backward(gates: Any, before: Any, _after: Any, gradient: Any, _vectors: Any) -> Any:
    i, f, candidate = gates
    total = f + i + NOTHING
    kept, added = f / total, i / total
    dh = gradient[0]
    dshare = dh * (before[0] - candidate) * kept * added
    return (dshare * (i - 1), dshare * (1 - f), dh * added), (dh * kept, None), ()


MATHS = GateMaths(3, _forward, _backward)


class MinLstm(ParallelCell, kind="minlstm"):
    """Long short-term memory whose gates and candidate see x alone, without C and output gate.

        f_t = σ(W_f x_t + b_f)
        i_t = σ(W_i x_t + b_i)
        h̃_t = W x_t + b
        f'_t = f_t / (f_t + i_t)
        i'_t = i_t / (f_t + i_t)
        h_t = f'_t * h_{t-1} + i'_t * h̃_t

    The two shares add up to one, so the scale of h doesn't depend on the length. No gate waits for h, so all steps run at
    once by a parallel scan. The candidate is linear, as in the paper's plain form; `positive: true` takes it through g, as
    the log-space form does, but from h_0 = 0. With chrono initialisation, b_i = −b_f makes f' = f.

    References:
        Feng et al. (2024), Were RNNs all we needed?, arXiv:2410.01201, minLSTM with length-independent scaling.
    """

    Config = MinLstmConfig
    gates = ("input", "forget", "candidate")
    config: MinLstmConfig
    bias: nn.Parameter

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        fill_forget_bias(self.bias, self.gates, self.config.forget_bias, self.config.chrono_t_max, generator)

    def coefficients(
        self, projected: Float[Tensor, "*steps batch rows"]
    ) -> tuple[Float[Tensor, "*steps batch hidden"], Float[Tensor, "*steps batch hidden"]]:
        i, f, candidate = projected.chunk(3, dim=-1)
        i, f = i.sigmoid(), f.sigmoid()
        total = f + i + NOTHING
        return f / total, i / total * self.candidate(candidate)

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        """σ of each block; `kept` has the share that they amount to."""
        del state
        i, f, _ = projected.chunk(3, dim=-1)
        return {"input": i.sigmoid(), "forget": f.sigmoid()}

    def kept(self, gates: Mapping[str, Tensor]) -> Tensor:
        return gates["forget"] / (gates["forget"] + gates["input"] + NOTHING)

    def fast(self) -> FastForm | None:
        return self.form(MATHS)
