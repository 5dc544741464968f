"""What every cell is: a frozen config, gate weights in named blocks, a zero state, and one step.

Shapes throughout the room: `time` steps, `batch` sequences, `input_size` features, `hidden` units, and
`gates` × `hidden` rows in each weight, one block per gate in the order of `Cell.gates`.

References:
    Ba, Kiros & Hinton (2016), Layer normalization, arXiv:1607.06450, equation 4: `layer_norm`.
    Gal & Ghahramani (2016), A theoretically grounded application of dropout in recurrent neural networks,
    arXiv:1512.05287, equation 7: `recurrent_dropout`.
    Krueger et al. (2017), Zoneout, arXiv:1606.01305, equation 2: `zoneout`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from carrossel.cells.initialisation import fill_gate_blocks
from carrossel.config import Section
from carrossel.kinds import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jaxtyping import Float

    from carrossel.cells.kernels.form import FastForm
    from carrossel.cells.onnx.form import NativeForm

registry: Registry[Cell] = Registry("carrossel.cells", "cell")


class State(NamedTuple):
    """What a cell carries from one step to the next.

    Attributes:
        h: hidden state, which is also the output.
        c: memory C of the LSTM family; where a cell keeps several things, side by side (`Cell.memory_parts`). None for
            cells that keep none.
    """

    h: Float[Tensor, "batch hidden"]
    c: Float[Tensor, "batch memory"] | None = None

    @property
    def memory(self) -> Float[Tensor, "batch memory"]:
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
    recurrent_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of h dropped in the recurrent products in training, the same units at every step of a sequence.",
    )
    zoneout: float = Field(
        default=0.0, ge=0, lt=1, description="Chance that a unit keeps its old state in a step of training."
    )
    layer_norm: bool = Field(
        default=False, description="Whether each gate's sum of products is normalised over the units, then scaled."
    )
    bidirectional: bool = Field(
        default=False,
        description="Whether a second stack reads the window backwards, beside the one that reads it forwards.",
    )

    @model_validator(mode="after")
    def _normalising_needs_units(self) -> Self:
        if self.layer_norm and self.hidden_size == 1:
            raise ValueError(
                "layer_norm takes the mean over the units, which leaves 0 of a single one: hidden_size >= 2"
            )
        return self


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
    paper. Everything that all of them share (state, products, initialisation, options) is here; running along a
    sequence is `carrossel.cells.unrolling`.

    Args:
        input_size: features of x, at least 1.
        config: the cell's own `Config`.
        generator: source of the initial weights; None draws from torch's global seed (`torch.manual_seed`).

    Attributes:
        gates: names of the blocks, in the order in which they lie in weights and biases.
        blocks_x: those of them that `weight_x` has; all if None.
        blocks_h: those of them that `weight_h` has; all if None.
        memory_parts: how many things of `hidden` numbers a cell with memory keeps in C.
        weight_x: input weights, [blocks_x·hidden, input_size].
        weight_h: recurrent weights, [blocks_h·hidden, hidden]; None for a cell whose `blocks_h` is empty.
        bias: [gates·hidden], or None for a cell without biases.
        gain: with `layer_norm`, what normalised sums are scaled by, one number per row of `weight_h` (of `weight_x` where
            that is None); else None.
    """

    kind: ClassVar[str]
    Config: ClassVar[type[CellConfig]] = CellConfig
    gates: ClassVar[tuple[str, ...]]
    blocks_x: ClassVar[tuple[str, ...] | None] = None
    blocks_h: ClassVar[tuple[str, ...] | None] = None
    has_memory: ClassVar[bool] = False
    memory_parts: ClassVar[int] = 1

    weight_x: nn.Parameter
    weight_h: nn.Parameter
    bias: nn.Parameter | None
    gain: nn.Parameter | None

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
        self._mask: Tensor | None = None
        rows, rows_x, rows_h = (
            config.hidden_size * len(self.gates if blocks is None else blocks)
            for blocks in (None, self.blocks_x, self.blocks_h)
        )
        weight_h = nn.Parameter(torch.empty(rows_h, config.hidden_size)) if rows_h else None
        self.weight_x = nn.Parameter(torch.empty(rows_x, input_size))
        self.register_parameter("weight_h", weight_h)
        self.register_parameter("bias", nn.Parameter(torch.empty(rows)) if self.has_bias else None)
        self.register_parameter("gain", nn.Parameter(torch.empty(rows_h or rows_x)) if config.layer_norm else None)
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
        fill_gate_blocks(self.weight_x, self.weight_h, self.bias, self.hidden_size, generator)
        if self.gain is not None:
            nn.init.ones_(self.gain)

    def initial_state(self, batch: int) -> State:
        """Zeros for `batch` sequences, with the weights' dtype and device."""
        h = self.weight_x.new_zeros(batch, self.hidden_size)
        return State(h, h.new_zeros(batch, self.memory_parts * self.hidden_size) if self.has_memory else None)

    def project(self, x: Float[Tensor, "time batch input_size"]) -> Float[Tensor, "time batch rows"]:
        """W_x x_t + b for all steps at once: this part knows no time, so one product replaces `time` small ones.

        For cells whose `weight_x` has every block, as `bias` has; others override it.
        """
        return linear(x, self.weight_x, self.bias)

    def recur(
        self,
        projected: Float[Tensor, "batch rows"],
        h: Float[Tensor, "batch hidden"],
        blocks: slice = slice(None),
        *,
        bias: Float[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, "batch rows"]:
        """`projected` + W_h h: the sums that gates see, with what options do to them.

        Args:
            projected: W_x x_t + b of these blocks; what has no batch is the same for all sequences.
            h: before the step, or what takes its place.
            blocks: which blocks of `weight_h`; all if not given.
            bias: the b in `projected`, which isn't normalised; these blocks' part of `self.bias` if not given.
        """
        n = self.hidden_size
        rows = slice(*(None if edge is None else edge * n for edge in (blocks.start, blocks.stop)))
        weight = self.weight_h if rows == slice(None) else self.weight_h[rows]
        if self._mask is not None:
            h = h * self._mask
        sums = torch.addmm(projected, h, weight.t())
        if self.gain is None:
            return sums
        if bias is None and self.bias is not None:
            skipped = self.gates.index(self.blocks_h[0]) * n if self.blocks_h else 0
            first = skipped + (rows.start or 0)
            bias = self.bias[first : first + len(weight)]
        return self.normalise(sums, self.gain[rows], bias)

    def normalise(
        self,
        sums: Float[Tensor, "batch rows"],
        gain: Float[Tensor, " rows"],
        bias: Float[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, "batch rows"]:
        """Each block of sums without bias, less its mean over the units and over its standard deviation; times gain, plus bias."""
        n = self.hidden_size
        blocks = (sums if bias is None else sums - bias).reshape(*sums.shape[:-1], -1, n)
        normal = layer_norm(blocks, (n,)).reshape(sums.shape) * gain
        return normal if bias is None else normal + bias

    @abstractmethod
    def step(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        """One step in time: the equations.

        Args:
            projected: W_x x_t + b of this step, from `project`.
            state: the state before the step.
        """

    def advance(self, projected: Float[Tensor, "batch rows"], state: State) -> State:
        """One `step`, and zoneout: what runs a sequence calls this.

        In training each unit of h, and of C with all that it keeps there, keeps its old value by chance; else it takes the
        mean of what chance would give.
        """
        after, share = self.step(projected, state), self.config.zoneout
        if not share:
            return after
        pairs = ((old, new) for old, new in zip(state, after, strict=True) if old is not None and new is not None)
        if self.training:
            return State(*(torch.where(self._stays(new), old, new) for old, new in pairs))
        return State(*(torch.lerp(new, old, share) for old, new in pairs))

    def _stays(self, part: Float[Tensor, "batch numbers"]) -> Float[Tensor, "batch numbers"]:
        """Which numbers of h or C zoneout keeps: what a unit keeps side by side belongs together."""
        drawn = torch.rand_like(part[:, : self.hidden_size]) < self.config.zoneout
        return drawn if self.memory_parts == 1 else drawn.repeat(1, part.shape[1] // self.hidden_size)

    @contextmanager
    def dropping(self, batch: int) -> Iterator[None]:
        """In training with `recurrent_dropout`: the block's products see each sequence's h through one mask."""
        share = self.config.recurrent_dropout
        if share and self.training:
            kept = self.weight_x.new_empty(batch, self.hidden_size).bernoulli_(1 - share)
            self._mask = kept / (1 - share)
        try:
            yield
        finally:
            self._mask = None

    @property
    def needs_loop(self) -> bool:
        """Whether options act inside a step just now, which only the loop over `advance` knows."""
        config = self.config
        return config.layer_norm or config.zoneout > 0 or (config.recurrent_dropout > 0 and self.training)

    def recurrent_blocks(self) -> dict[str, Float[Tensor, "hidden hidden"]]:
        """Each gate's part of W_hh; empty for a cell whose gates don't see h."""
        names = self.gates if self.blocks_h is None else self.blocks_h
        return dict(zip(names, self.weight_h.chunk(len(names)), strict=True)) if names else {}

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

    def coefficients(
        self, projected: Float[Tensor, "time batch rows"]
    ) -> tuple[Float[Tensor, "time batch hidden"], Float[Tensor, "time batch hidden"]] | None:
        """Give a and b of h_t = a_t * h_{t-1} + b_t, where both come from x alone: all steps then run by a parallel scan.

        Args:
            projected: W_x x_t + b, from `project`.
        """
        del projected
        return None

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
