"""Third slim form of the minimal gated unit: a gate that is a learned number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrossel.cells.one_gate import BiasedGate

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Mgu3(BiasedGate, kind="mgu3"):
    """Minimal gated unit whose gate sees neither x nor h: one learned rate per unit.

        f_t = σ(b_f)
        h̃_t = tanh(W_h · [f_t * h_{t-1}, x_t] + b_h)
        h_t = (1 − f_t) * h_{t-1} + f_t * h̃_t

    Each unit averages exponentially, with its own time scale of 1 / f steps.

    References:
        Heck & Salem (2017), Simplified minimal gated unit variations for recurrent neural networks, arXiv:1701.03452,
        variant MGU3. Of 20 cells Khaldi et al. (2022), arXiv:2203.07844, recommend it for deterministic and nonlinear series.
    """

    blocks_x = blocks_h = ("candidate",)

    def forget(self, projected: Float[Tensor, "batch hidden"], h: Float[Tensor, "batch hidden"]) -> Tensor:
        del h
        return projected.sigmoid()
