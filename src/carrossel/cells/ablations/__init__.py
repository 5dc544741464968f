"""What the variants of Greff et al. (2017), LSTM: a search space odyssey, share: one file each, `cells/nig.py` and so on.

All start from that paper's vanilla LSTM, which is `peephole_diagonal` here, and change one thing:

    f_t = σ(W_f · [h_{t-1}, x_t] + p_f * C_{t-1} + b_f)
    i_t = σ(W_i · [h_{t-1}, x_t] + p_i * C_{t-1} + b_i)
    C̃_t = tanh(W_C · [h_{t-1}, x_t] + b_C)
    C_t = f_t * C_{t-1} + i_t * C̃_t
    o_t = σ(W_o · [h_{t-1}, x_t] + p_o * C_t + b_o)
    h_t = o_t * tanh(C_t)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from carrossel.cells.base import Cell, CellConfig, MemoryConfig, State
from carrossel.cells.initialisation import fill_forget_bias
from carrossel.cells.kernels.form import FastForm, GateMaths
from carrossel.cells.onnx.form import NativeForm

if TYPE_CHECKING:
    from jaxtyping import Float

OPEN = 40.0
"""Bias of a gate that isn't there, where an operator wants one: 1 − σ(40) = 4e-18, nothing in float32 or float64."""


class Variant(Cell):
    """A vanilla LSTM with one thing changed; the equations are the subclass's.

    Peephole weights start at zero, so training starts without peepholes and what they are good for is learned.

    Attributes:
        peepholes: gates that see their own unit's memory: the output gate C_t, others C_{t-1}.
        activations: ONNX's names of the paper's σ, g and h, where one is the identity (`Affine`); else empty.
        maths: for the fast paths; None for a variant without.
        weight_c: peephole vectors in the order of `peepholes`, [peepholes, hidden]; None without peepholes.
    """

    Config: ClassVar[type[CellConfig]] = MemoryConfig
    gates: ClassVar[tuple[str, ...]] = ("input", "forget", "candidate", "output")
    peepholes: ClassVar[tuple[str, ...]] = ("input", "forget", "output")
    activations: ClassVar[tuple[str, ...]] = ()
    maths: ClassVar[GateMaths | None] = None
    has_memory = True
    bias: nn.Parameter
    weight_c: nn.Parameter

    def add_parameters(self) -> None:
        count = len(self.peepholes)
        vectors = nn.Parameter(torch.empty(count, self.hidden_size)) if count else None
        self.register_parameter("weight_c", vectors)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        if self.peepholes:
            nn.init.zeros_(self.weight_c)
        if isinstance(self.config, MemoryConfig):
            fill_forget_bias(self.bias, self.gates, self.config.forget_bias, self.config.chrono_t_max, generator)

    def gate_values(self, projected: Float[Tensor, "batch rows"], state: State) -> dict[str, Tensor]:
        sums = self._by_name(self.gates, self.recur(projected, state.h).chunk(len(self.gates), dim=-1))
        after = self.step(projected, state).memory
        for gate, p in self._vectors().items():
            sums[gate] = torch.addcmul(sums[gate], p, after if gate == "output" else state.memory)
        return {gate: each.sigmoid() for gate, each in sums.items() if gate != "candidate"}

    def native(self) -> NativeForm | None:
        """ONNX's LSTM; a gate that isn't there has weights of zero and a bias that opens it."""
        weight_x, weight_h = (self._arrange(each) for each in (self.weight_x, self.weight_h))
        vectors, none = self._vectors(), self.bias.new_zeros(self.hidden_size)
        identity = {"activations": list(self.activations), "activation_alpha": [1.0], "activation_beta": [0.0]}
        return NativeForm(
            "LSTM",
            weight_x,
            weight_h,
            self._arrange(self.bias, missing=OPEN),
            peephole=torch.cat([vectors.get(gate, none) for gate in ("input", "output", "forget")]),
            attributes=identity if self.activations else {},
        )

    def fast(self) -> FastForm | None:
        if self.maths is None:
            return None
        return FastForm(self.maths, self.weight_x, self.weight_h, self.bias, vectors=self.weight_c)

    def _vectors(self) -> dict[str, Tensor]:
        return self._by_name(self.peepholes, self.weight_c.unbind()) if self.peepholes else {}

    def _arrange(self, tensor: Tensor, missing: float = 0.0) -> Tensor:
        blocks = self._by_name(self.gates, tensor.chunk(len(self.gates)))
        filling = torch.full_like(tensor[: self.hidden_size], missing)
        return torch.cat([blocks.get(gate, filling) for gate in ("input", "output", "forget", "candidate")])

    @staticmethod
    def _by_name(names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return dict(zip(names, tensors, strict=True))
