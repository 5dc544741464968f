"""What every cell is: a frozen config, gate weights in named blocks, a zero state, and one step.

Shapes throughout the room: `time` steps, `batch` sequences, `input_size` features, `hidden` units, and
`gates` × `hidden` rows in each weight, one block per gate in the order of `Cell.gates`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear

from carrossel.cells.initialisation import fill_gate_blocks
from carrossel.config import Section
from carrossel.kinds import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float

    from carrossel.cells.kernels.form import FastForm
    from carrossel.cells.onnx.form import NativeForm

registry: Registry[Cell] = Registry("carrossel.cells", "cell")


class State(NamedTuple):
    """What a cell carries from one step to the next.

    Attributes:
        h: hidden state, which is also the output.
        c: memory C of the LSTM family; None for cells that keep none.
    """

    h: Float[Tensor, "batch hidden"]
    c: Float[Tensor, "batch hidden"] | None = None

    @property
    def memory(self) -> Float[Tensor, "batch hidden"]:
        """C, for cells that keep one.

        Raises:
            ValueError: if this state has none.
        """
        if self.c is None:
            raise ValueError("this state has no memory C; start from the cell's initial_state().")
        return self.c


class CellConfig(Section):
    """What every cell can be told in params.yaml."""

    hidden_size: int = Field(default=32, ge=1, description="Units of the hidden state, per layer.")
    layers: int = Field(default=1, ge=1, description="Cells stacked on one another.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Share of units dropped between layers in training.")


class MemoryConfig(CellConfig):
    """What cells with a forget gate can be told besides."""

    forget_bias: float = Field(
        default=1.0,
        allow_inf_nan=False,
        description="Start value of the forget gate's bias; above 0 the memory keeps its content at first.",
    )
    chrono_t_max: int | None = Field(
        default=None,
        ge=2,
        description="Longest dependency expected, in steps: chrono initialisation instead of forget_bias.",
    )


@dataclass(frozen=True)
class FusedForm:
    """The same function as one of torch.nn's recurrent layers, in that layer's own weight layout.

    The tensors are made from the cell's parameters by differentiable operations, so gradients reach the parameters.

    Attributes:
        layer: `nn.RNN`, `nn.LSTM` or `nn.GRU`.
        weight_ih: input weights, rows in torch's gate order.
        weight_hh: recurrent weights, likewise.
        bias_ih: bias beside the input weights, or None for a layer without biases.
        bias_hh: bias beside the recurrent weights, which matters inside the GRU's reset; None as for `bias_ih`.
        options: further arguments of `layer`, such as `nonlinearity`.
    """

    layer: type[nn.RNN | nn.LSTM | nn.GRU]
    weight_ih: Float[Tensor, "rows input_size"]
    weight_hh: Float[Tensor, "rows hidden"]
    bias_ih: Float[Tensor, " rows"] | None
    bias_hh: Float[Tensor, " rows"] | None
    options: Mapping[str, Any] = field(default_factory=dict)


class Cell(nn.Module, ABC):
    """One recurrent layer, described by a single step.

    A subclass names its `kind`, which is its file's name, registers itself by being defined, and writes `step` from the
    paper. Everything that all of them share (state, input projection, initialisation) is here; running along a
    sequence is `carrossel.cells.unrolling`.

    Args:
        input_size: features of x, at least 1.
        config: the cell's own `Config`.
        generator: source of the initial weights; None draws from torch's global seed (`torch.manual_seed`).

    Attributes:
        weight_x: input weights, [gates·hidden, input_size].
        weight_h: recurrent weights, [gates·hidden, hidden].
        bias: [gates·hidden], or None for a cell without biases.
    """

    kind: ClassVar[str]
    Config: ClassVar[type[CellConfig]] = CellConfig
    gates: ClassVar[tuple[str, ...]]
    has_memory: ClassVar[bool] = False

    weight_x: nn.Parameter
    weight_h: nn.Parameter
    bias: nn.Parameter | None

    def __init_subclass__(cls, *, kind: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if kind is not None:
            cls.kind = kind
            registry.add(kind, cls)

    def __init__(self, input_size: int, config: CellConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if input_size < 1:
            raise ValueError(f"{self.kind} cell got input_size={input_size}; it needs at least one feature.")
        self.input_size = input_size
        self.hidden_size = config.hidden_size
        self.config = config
        rows = len(self.gates) * config.hidden_size
        self.weight_x = nn.Parameter(torch.empty(rows, input_size))
        self.weight_h = nn.Parameter(torch.empty(rows, config.hidden_size))
        self.register_parameter("bias", nn.Parameter(torch.empty(rows)) if self.has_bias else None)
        self.add_parameters()
        self.reset_parameters(generator)

    @property
    def has_bias(self) -> bool:
        """Whether the gates have biases."""
        return True

    def add_parameters(self) -> None:
        """Create what this cell has besides `weight_x`, `weight_h` and `bias`; `reset_parameters` fills it."""

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights.

        Per gate block, Xavier uniform for the input and orthogonal for the recurrent weights; biases 0. Cells with
        a forget gate set its bias on top.

        Args:
            generator: source of randomness on the weights' device; None draws from torch's global seed. Equal
                generators give equal weights whatever else was drawn before.
        """
        fill_gate_blocks(self.weight_x, self.weight_h, self.bias, len(self.gates), generator)

    def initial_state(self, batch: int) -> State:
        """Zeros for `batch` sequences, with the weights' dtype and device."""
        h = self.weight_h.new_zeros(batch, self.hidden_size)
        return State(h, torch.zeros_like(h) if self.has_memory else None)

    def project(self, x: Float[Tensor, "time batch input_size"]) -> Float[Tensor, "time batch rows"]:
        """W_x x_t + b for all steps at once: this part knows no time, so one product replaces `time` small ones."""
        return linear(x, self.weight_x, self.bias)

    @abstractmethod
    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        """One step in time: the equations.

        Args:
            projected: W_x x_t + b of this step, from `project`.
            state: the state before the step.
        """

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        """How far each gate is open in one step, for diagnostics: a second look at `step`, which doesn't need it.

        Only what opens and shuts is a gate: σ of a block, 0 … 1. Candidates aren't.

        Args:
            projected: as for `step`.
            state: the state before the step.

        Returns:
            [batch, hidden] by the gate's name in `gates`; empty for a cell without gates.
        """
        del projected, state
        return {}

    def kept(self, gates: Mapping[str, Tensor]) -> Tensor | None:
        """The share of its old value that each unit keeps in a step, by its gates alone.

        It is f of C_t = f * C_{t-1} + i * C̃_t: ∂C_t/∂C_{t-1} (∂h_t/∂h_{t-1} for cells without C) with the gates and the
        candidate held fixed.

        Args:
            gates: from `gate_values`, of any leading dimensions.

        Returns:
            Of the gates' shape; None for a cell that keeps nothing.
        """
        return gates.get("forget")

    def fused(self) -> FusedForm | None:
        """The same function as a layer of torch.nn, or None where torch has none."""
        return None

    def native(self) -> NativeForm | None:
        """The same function as an operator of ONNX, or None: a Scan over `step` is exported then."""
        return None

    def fast(self) -> FastForm | None:
        """What the kernels of `carrossel.cells.kernels` need to run this cell, or None: the loop then runs it."""
        return None

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.config!r}"
