"""Second slim form of the minimal gated unit: a gate that sees h alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from carrossel.cells.one_gate import MinimalGate

if TYPE_CHECKING:
    from jaxtyping import Float


class Mgu2(MinimalGate, kind="mgu2"):
    """Minimal gated unit whose gate sees neither x nor a bias.

        f_t = σ(U_f h_{t-1})
        h̃_t = tanh(W_h · [f_t * h_{t-1}, x_t] + b_h)
        h_t = (1 − f_t) * h_{t-1} + f_t * h̃_t

    The first step's gate is half open whatever x is, since h_0 = 0. The gate has no bias for chrono initialisation to set.

    Attributes:
        bias_candidate: b_h, [hidden].

    References:
        Heck & Salem (2017), Simplified minimal gated unit variations for recurrent neural networks, arXiv:1701.03452,
        variant MGU2. Of 20 cells Khaldi et al. (2022), arXiv:2203.07844, recommend it for random walks.
    """

    blocks_x = ("candidate",)
    bias_candidate: nn.Parameter

    @property
    def has_bias(self) -> bool:
        return False  # not one per gate: see bias_candidate

    def add_parameters(self) -> None:
        self.bias_candidate = nn.Parameter(torch.empty(self.hidden_size))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        nn.init.zeros_(self.bias_candidate)

    def biases(self) -> Float[Tensor, " rows"]:
        return torch.cat([torch.zeros_like(self.bias_candidate), self.bias_candidate])

    @property
    def candidate_bias(self) -> Float[Tensor, " hidden"]:
        return self.bias_candidate
