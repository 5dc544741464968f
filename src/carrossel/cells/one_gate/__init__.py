"""What the minimal gated unit and its slim forms share: one gate, which resets and updates."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear

from carrossel.cells.base import Cell, CellConfig, State
from carrossel.cells.initialisation import chrono_bias, fill_gate_bias
from carrossel.cells.kernels.form import FastForm, GateMaths
from carrossel.cells.kernels.functions import sigmoid, tanh
from carrossel.cells.onnx.form import NativeForm, arrange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float


class BiasedGateConfig(CellConfig):
    """Settings of the forms whose gate has a bias."""

    chrono_t_max: int | None = Field(
        default=None,
        ge=2,
        description="Longest dependency expected, in steps: chrono initialisation of the forget gate.",
    )


def _forward(gates: Any, before: Any, _vectors: Any) -> Any:
    f = sigmoid(gates[0])
    return (f, gates[1]), (None, f * before[0])


def _finish(gates: Any, state: Any) -> Any:
    candidate = tanh(gates[1])
    return (candidate,), state[0] + gates[0] * (candidate - state[0])


def _finish_backward(gates: Any, _state: Any, gradient: Any) -> Any:
    f, candidate = gates
    return (gradient[0] * f * (1 - candidate * candidate),), None


def _backward(gates: Any, before: Any, _after: Any, gradient: Any, _vectors: Any) -> Any:
    f, candidate = gates
    dh, dreset = gradient
    df = (dh * (candidate - before[0]) + dreset * before[0]) * f * (1 - f)
    return (df,), (dh * (1 - f) + dreset * f, None), ()


MATHS = GateMaths(2, _forward, _backward, _finish, _finish_backward, memory=True, late=1, late_input=True)


class MinimalGate(Cell):
    """The minimal gated unit with whatever its gate sees: of x, of h and of a bias.

    A subclass says which of them by `blocks_x`, `blocks_h` and `biases`. For what runs all blocks at once, those it hasn't
    are zeros.
    """

    gates = ("forget", "candidate")

    def whole(self, weight: Float[Tensor, "rows columns"], blocks: tuple[str, ...] | None) -> Tensor:
        """A weight with a block for each of `gates`."""
        if blocks is None:
            return weight
        there = dict(zip(blocks, weight.chunk(len(blocks)), strict=True))
        zeros = weight.new_zeros(self.hidden_size, weight.shape[1])
        return torch.cat([there.get(gate, zeros) for gate in self.gates])

    @abstractmethod
    def biases(self) -> Float[Tensor, " rows"]:
        """The biases of all of `gates`."""

    @property
    def candidate_bias(self) -> Float[Tensor, " hidden"]:
        """The candidate's part of `biases`."""
        return self.biases()[self.hidden_size :]

    def project(self, x: Float[Tensor, "time batch input_size"]) -> Float[Tensor, "time batch rows"]:
        return linear(x, self.whole(self.weight_x, self.blocks_x), self.biases())

    def forget(self, projected: Float[Tensor, "batch hidden"], h: Float[Tensor, "batch hidden"]) -> Tensor:
        """f_t, from the gate's own block of `projected`."""
        return self.recur(projected, h, slice(1)).sigmoid()

    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        n = self.hidden_size
        projected_f, projected_candidate = projected.split_with_sizes([n, n], dim=-1)
        f = self.forget(projected_f, state.h)
        last = len(self.weight_h) // n - 1
        reset = slice(last, last + 1)
        candidate = self.recur(projected_candidate, f * state.h, reset, bias=self.candidate_bias).tanh()
        return State(torch.lerp(state.h, candidate, f))  # lerp(a, b, f) = (1 − f) a + f b

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        return {"forget": self.forget(projected[:, : self.hidden_size], state.h)}

    def kept(self, gates: Mapping[str, Tensor]) -> Tensor:
        return 1 - gates["forget"]

    def native(self) -> NativeForm:
        """A GRU whose reset is the gate, and whose z, which weighs the old value in ONNX, is its opposite."""
        order = ("-forget", "forget", "candidate")
        weight_x, weight_h, bias = (arrange(each, self.gates, order) for each in self._all_blocks())
        return NativeForm("GRU", weight_x, weight_h, bias, attributes={"linear_before_reset": 0})

    def fast(self) -> FastForm:
        return FastForm(MATHS, *self._all_blocks())

    def _all_blocks(self) -> tuple[Tensor, Tensor, Tensor]:
        weights = ((self.weight_x, self.blocks_x), (self.weight_h, self.blocks_h))
        weight_x, weight_h = (self.whole(*each) for each in weights)
        return weight_x, weight_h, self.biases()


class BiasedGate(MinimalGate):
    """The forms whose gate has a bias."""

    Config = BiasedGateConfig
    config: BiasedGateConfig
    bias: nn.Parameter

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        if self.config.chrono_t_max is not None:  # an open gate forgets, so the bias has the opposite sign
            drawn = chrono_bias(self.hidden_size, self.config.chrono_t_max, generator)
            fill_gate_bias(self.bias, self.gates, "forget", -drawn)

    def biases(self) -> Float[Tensor, " rows"]:
        return self.bias
