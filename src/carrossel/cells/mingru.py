"""Minimal gated recurrent unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from carrossel.cells.initialisation import chrono_bias, fill_gate_bias
from carrossel.cells.kernels.form import FastForm, GateMaths
from carrossel.cells.kernels.functions import sigmoid
from carrossel.cells.linear_recurrence import ParallelCell, ParallelConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from jaxtyping import Float
    from torch import Tensor, nn

    from carrossel.cells.base import State


class MinGruConfig(ParallelConfig):
    """Settings of the minimal gated recurrent unit."""

    chrono_t_max: int | None = Field(
        default=None,
        ge=2,
        description="Longest dependency expected, in steps: chrono initialisation of the update gate.",
    )


def _forward(gates: Any, before: Any, _vectors: Any) -> Any:
    z, candidate = sigmoid(gates[0]), gates[1]
    return (z, candidate), (before[0] + z * (candidate - before[0]), None)


def _backward(gates: Any, before: Any, _after: Any, gradient: Any, _vectors: Any) -> Any:
    z, candidate = gates
    dh = gradient[0]
    return (dh * (candidate - before[0]) * z * (1 - z), dh * z), (dh * (1 - z), None), ()


MATHS = GateMaths(2, _forward, _backward)


class MinGru(ParallelCell, kind="mingru"):
    """Gated recurrent unit whose gate and candidate see x alone.

        z_t = σ(W_z x_t + b_z)
        h̃_t = W x_t + b
        h_t = (1 − z_t) * h_{t-1} + z_t * h̃_t

    No gate waits for h, so all steps run at once by a parallel scan. The candidate is linear, as in the paper's plain
    form; `positive: true` takes it through g, as the log-space form does, but from h_0 = 0.

    References:
        Feng et al. (2024), Were RNNs all we needed?, arXiv:2410.01201, minGRU.
    """

    Config = MinGruConfig
    gates = ("update", "candidate")
    config: MinGruConfig
    bias: nn.Parameter

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        if self.config.chrono_t_max is not None:
            drawn = chrono_bias(self.hidden_size, self.config.chrono_t_max, generator)
            fill_gate_bias(self.bias, self.gates, "update", -drawn)

    def coefficients(
        self, projected: Float[Tensor, "*steps batch rows"]
    ) -> tuple[Float[Tensor, "*steps batch hidden"], Float[Tensor, "*steps batch hidden"]]:
        update, candidate = projected.chunk(2, dim=-1)
        z = update.sigmoid()
        return 1 - z, z * self.candidate(candidate)

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        del state
        return {"update": projected.chunk(2, dim=-1)[0].sigmoid()}

    def kept(self, gates: Mapping[str, Tensor]) -> Tensor:
        return 1 - gates["update"]

    def fast(self) -> FastForm | None:
        return self.form(MATHS)
