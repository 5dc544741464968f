"""Measured gradients of plain recurrent networks whose recurrent weights are α times an orthogonal matrix.

An orthogonal Q turns and never stretches, so in a linear network with W = αQ the error that has gone k steps back is
α^k of what it was, in every direction. With tanh each step also multiplies it by 1 − h² ≤ 1: α^k is then a bound.

References:
    Hochreiter (1991), Untersuchungen zu dynamischen neuronalen Netzen, diploma thesis, TU München, chapter 4.
    Bengio, Simard & Frasconi (1994), Learning long-term dependencies with gradient descent is difficult.
    Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks, section 2.1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import pandas as pd
import torch
from torch import nn

from carrossel.cells.rnn import Rnn, RnnConfig
from carrossel.cells.unrolling import unroll_states
from carrossel.diagnostics.jacobians import lyapunov_exponents
from carrossel.diagnostics.quantities import gradient_by_lag

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from carrossel.lab.hochreiter.config import Hochreiter

Network = Literal["linear", "tanh"]
NETWORKS: tuple[Network, ...] = get_args(Network)
_ACTIVATIONS: dict[Network, Literal["identity", "tanh"]] = {"linear": "identity", "tanh": "tanh"}


def run_experiment(config: Hochreiter) -> pd.DataFrame:
    """D1 of every network and α beside α^k.

    Returns:
        Columns `network`, `alpha`, `lag`, `gradient` (mean of ‖∂L/∂h_{T−k}‖₂, with ‖∂L/∂h_T‖₂ = 1) and `theory`: α^k,
        what `gradient` is in the linear network and the most that it can be with tanh.
    """
    return pd.DataFrame(
        [
            {"network": network, "alpha": alpha, "lag": lag, "gradient": float(norm), "theory": alpha**lag}
            for network in NETWORKS
            for alpha in config.alphas
            for lag, norm in enumerate(measure_gradient(network, alpha, config))
        ]
    )


def measure_exponents(config: Hochreiter, count: int = 3) -> pd.DataFrame:
    """D4 of every network and α beside ln α.

    Returns:
        Columns `network`, `alpha`, `rank` (1 grows most), `exponent` per step, and `theory`: ln α, every exponent of the
        linear network.
    """
    return pd.DataFrame(
        [
            {"network": network, "alpha": alpha, "rank": rank, "exponent": float(exponent), "theory": math.log(alpha)}
            for network in NETWORKS
            for alpha in config.alphas
            for rank, exponent in enumerate(_exponents(network, alpha, config, count), start=1)
        ]
    )


def measure_gradient(network: Network, alpha: float, config: Hochreiter) -> NDArray[np.float64]:
    """D1 for lag k = 0 … steps, in float64.

    L weighs the last h with a vector of length 1, so that the norm at lag 0 is 1 whatever the network's state.
    """
    cell, x, generator = _build(network, alpha, config)
    direction = torch.randn(config.hidden_size, generator=generator, dtype=torch.float64)
    states = unroll_states(cell, x)
    (found,) = gradient_by_lag(states[-1].h @ (direction / direction.norm()), [states])
    return found.h


def _exponents(network: Network, alpha: float, config: Hochreiter, count: int) -> NDArray[np.float64]:
    cell, x, _ = _build(network, alpha, config)
    with torch.no_grad():
        states = unroll_states(cell, x)
    return lyapunov_exponents(cell, x, states, count)


def _build(
    network: Network, alpha: float, config: Hochreiter
) -> tuple[Rnn, Float[Tensor, "time batch one"], torch.Generator]:
    """The same Q, input weights and sequences for every network and α: α alone makes the difference."""
    generator = torch.Generator().manual_seed(config.seed)
    settings = RnnConfig(hidden_size=config.hidden_size, activation=_ACTIVATIONS[network])
    cell = Rnn(1, settings, generator=generator).double()
    orthogonal = torch.empty(config.hidden_size, config.hidden_size, dtype=torch.float64)
    nn.init.orthogonal_(orthogonal, generator=generator)  # once more: the cell's own is orthogonal to seven digits only
    with torch.no_grad():
        cell.weight_h.copy_(alpha * orthogonal)
    x = torch.randn(config.steps + 1, config.sequences, 1, generator=generator, dtype=torch.float64)
    return cell, x, generator
