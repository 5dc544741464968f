"""Long expressive memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from carrossel.cells.base import Cell, CellConfig, State
from carrossel.cells.initialisation import chrono_bias, fill_gate_bias
from carrossel.cells.kernels.form import FastForm, GateMaths
from carrossel.cells.kernels.functions import sigmoid, tanh

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float


class LemConfig(CellConfig):
    """Settings of long expressive memory."""

    dt: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Largest time step Δt of the equation that the cell discretises; smaller ones move its state more slowly.",
    )
    chrono_t_max: int | None = Field(
        default=None,
        ge=2,
        description="Longest dependency expected, in steps: chrono initialisation of the memory's time step.",
    )


def _forward(gates: Any, before: Any, vectors: Any) -> Any:
    of_memory, of_hidden, candidate = vectors[0] * sigmoid(gates[0]), vectors[0] * sigmoid(gates[1]), tanh(gates[2])
    return (of_memory, of_hidden, candidate, gates[3]), (None, before[1] + of_memory * (candidate - before[1]))


def _finish(gates: Any, state: Any) -> Any:
    candidate = tanh(gates[3])
    return (candidate,), state[0] + gates[1] * (candidate - state[0])


def _finish_backward(gates: Any, _state: Any, gradient: Any) -> Any:
    return (gradient[0] * gates[1] * (1 - gates[3] * gates[3]),), gradient[1]


def _backward(gates: Any, before: Any, _after: Any, gradient: Any, vectors: Any) -> Any:
    of_memory, of_hidden, memory, hidden = gates
    dh, dm = gradient
    by_memory, by_hidden = dm * (memory - before[1]) * of_memory, dh * (hidden - before[0]) * of_hidden
    dgates = (
        by_memory * (1 - of_memory * vectors[1]),
        by_hidden * (1 - of_hidden * vectors[1]),
        dm * of_memory * (1 - memory * memory),
    )
    by_dt = (by_memory + by_hidden) * vectors[1]
    return dgates, (dh * (1 - of_hidden), dm * (1 - of_memory)), (by_dt, 0 * by_dt)


# vectors: Δt, and 1/Δt for the derivatives, since a division by the kernels' padding of zeros gives NaN
MATHS = GateMaths(
    4, _forward, _backward, _finish, _finish_backward, memory=True, carried=True, late=1, late_input=True, vectors=2
)


class Lem(Cell, kind="lem"):
    """Long expressive memory: two coupled states, each with a time step of its own for every unit.

        Δt_t = Δt σ(W_1 h_{t-1} + V_1 x_t + b_1)
        Δt̄_t = Δt σ(W_2 h_{t-1} + V_2 x_t + b_2)
        C_t = (1 − Δt_t) * C_{t-1} + Δt_t * tanh(W_z h_{t-1} + V_z x_t + b_z)
        h_t = (1 − Δt̄_t) * h_{t-1} + Δt̄_t * tanh(W_y C_t + V_y x_t + b_y)      # note C_t

    The paper calls h y and C z. It is a time discretisation of a system of differential equations with learned time
    scales; Δt (`dt`) is the largest step, so with one below 1 the time scales of chrono initialisation are 1/Δt times as long.
    The fourth block of `weight_h` acts on C_t.

    References:
        Rusch, Mishra, Erichson & Mahoney (2022), Long expressive memory for sequence modeling, arXiv:2110.04744,
        equation 3.
    """

    Config = LemConfig
    gates = ("memory_step", "hidden_step", "memory", "hidden")
    has_memory = True
    config: LemConfig
    bias: nn.Parameter

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        if self.config.chrono_t_max is not None:
            drawn = chrono_bias(self.hidden_size, self.config.chrono_t_max, generator)
            fill_gate_bias(self.bias, self.gates, "memory_step", -drawn)

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        n = self.hidden_size
        projected_early, projected_late = projected.split_with_sizes([3 * n, n], dim=-1)
        of_memory, of_hidden, memory = self.recur(projected_early, state.h, slice(3)).chunk(3, dim=-1)
        c = torch.lerp(state.memory, memory.tanh(), self.config.dt * of_memory.sigmoid())
        hidden = self.recur(projected_late, c, slice(3, 4)).tanh()
        return State(torch.lerp(state.h, hidden, self.config.dt * of_hidden.sigmoid()), c)

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        early = self.recur(projected[:, : 3 * self.hidden_size], state.h, slice(3))
        of_memory, of_hidden, _ = early.chunk(3, dim=-1)
        return {"memory_step": of_memory.sigmoid(), "hidden_step": of_hidden.sigmoid()}

    def kept(self, gates: Mapping[str, Tensor]) -> Tensor:
        return 1 - self.config.dt * gates["memory_step"]

    def fast(self) -> FastForm:
        dt = self.weight_x.new_tensor([[self.config.dt], [1 / self.config.dt]]).expand(2, self.hidden_size)
        return FastForm(MATHS, self.weight_x, self.weight_h, self.bias, vectors=dt)
