"""Fresh weights for cells, drawn from an explicit generator or from torch's global seed.

References:
    Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward neural networks: Xavier uniform.
    Saxe, McClelland & Ganguli (2014), arXiv:1312.6120: orthogonal matrices keep the norm of what passes through them.
    Jozefowicz, Zaremba & Sutskever (2015), An empirical exploration of recurrent network architectures: forget bias 1.
    Tallec & Ollivier (2018), arXiv:1804.11188, section 2: chrono initialisation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


def fill_gate_blocks(
    weight_x: Float[Tensor, "rows input_size"],
    weight_h: Float[Tensor, "rows hidden"] | None,
    bias: Float[Tensor, " rows"] | None,
    hidden: int,
    generator: torch.Generator | None = None,
) -> None:
    """Fill a cell's weights in place, each gate's block on its own.

    Block by block, because stacked gates are separate maps: an orthogonal [4·hidden, hidden] matrix would have blocks
    that shrink what passes through them.

    Args:
        weight_x: input weights.
        weight_h: recurrent weights; None for a cell without.
        bias: None for a cell without biases.
        hidden: rows of a block.
        generator: on the weights' device; None draws from torch's global seed.
    """
    for block in weight_x.split(hidden):
        nn.init.xavier_uniform_(block, generator=generator)
    for block in () if weight_h is None else weight_h.split(hidden):
        nn.init.orthogonal_(block, generator=generator)
    if bias is not None:
        nn.init.zeros_(bias)


def chrono_bias(hidden: int, t_max: int, generator: torch.Generator | None = None) -> Float[Tensor, " hidden"]:
    """Draw log U(1, T_max − 1) for each unit, in float32.

    A gate σ(b) that keeps the memory with this bias forgets over a time scale spread evenly over 1 … T_max − 1 steps.

    Args:
        hidden: number of units.
        t_max: longest dependency expected, in steps; at least 2.
        generator: None draws from torch's global seed.
    """
    uniform = torch.rand(hidden, generator=generator, device=generator.device if generator else None)
    return torch.log(1 + (t_max - 2) * uniform)


def fill_gate_bias(
    bias: Float[Tensor, " rows"], gates: tuple[str, ...], gate: str, value: float | Float[Tensor, " hidden"]
) -> None:
    """Set one gate's bias in place.

    Args:
        bias: a cell's bias.
        gates: the blocks' names, in the order of the rows.
        gate: the one to set.
        value: one number for all units, or one per unit.
    """
    block = bias.detach().chunk(len(gates))[gates.index(gate)]
    block.copy_(torch.as_tensor(value))


def fill_forget_bias(
    bias: Float[Tensor, " rows"],
    gates: tuple[str, ...],
    forget_bias: float,
    chrono_t_max: int | None,
    generator: torch.Generator | None = None,
) -> None:
    """Set the forget gate's bias in place, and with chrono initialisation the input gate's, if any, to its opposite.

    Args:
        bias: a cell's bias.
        gates: the blocks' names, in the order of the rows; `forget` is one of them.
        forget_bias: start value of every unit; not used with `chrono_t_max`.
        chrono_t_max: see `chrono_bias`; None for `forget_bias`.
        generator: None draws from torch's global seed.
    """
    if chrono_t_max is None:
        fill_gate_bias(bias, gates, "forget", forget_bias)
        return
    drawn = chrono_bias(len(bias) // len(gates), chrono_t_max, generator)
    fill_gate_bias(bias, gates, "forget", drawn)
    if "input" in gates:
        fill_gate_bias(bias, gates, "input", -drawn)
