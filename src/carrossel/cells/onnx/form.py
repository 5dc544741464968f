"""The same function as one of ONNX's recurrent operators: what a cell says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float


@dataclass(frozen=True)
class NativeForm:
    """A cell's weights in the layout of ONNX's operator LSTM, GRU or RNN, without the axis of directions.

    Attributes:
        operator: its name. Rows go by gate: LSTM input, output, forget, candidate; GRU update, reset, candidate.
        weight_x: W.
        weight_h: R.
        bias: beside W; None for none.
        bias_h: beside R, which matters inside the GRU's reset; None for none.
        peephole: P, the vectors on C, by gate: input, output, forget.
        attributes: further ones of the operator.
    """

    operator: Literal["LSTM", "GRU", "RNN"]
    weight_x: Float[Tensor, "rows input_size"]
    weight_h: Float[Tensor, "rows hidden"]
    bias: Float[Tensor, " rows"] | None
    bias_h: Float[Tensor, " rows"] | None = None
    peephole: Float[Tensor, " peepholes"] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


def arrange(
    tensor: Float[Tensor, rows * columns], gates: Sequence[str], order: Sequence[str]
) -> Float[Tensor, arranged * columns]:
    """The blocks of a weight or bias in another order.

    Args:
        tensor: one block per gate.
        gates: of `tensor`.
        order: gates wanted; one may come twice, and `-forget` is the block negated.
    """
    blocks = dict(zip(gates, tensor.chunk(len(gates)), strict=True))
    return torch.cat([-blocks[name[1:]] if name.startswith("-") else blocks[name] for name in order])
