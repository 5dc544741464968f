"""The nonlinear functions that gate maths are written with.

Here they act on tensors; `carrossel.cells.kernels.vector` teaches numba to read the same names on vectors of units, and
`carrossel.cells.kernels.cuda.functions` has namesakes for Triton. So one text of a cell's gate maths runs in both kinds of
kernels and in torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def sigmoid(a: Tensor) -> Tensor:
    """The logistic function, 1 / (1 + e^−a)."""
    return a.sigmoid()


def tanh(a: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return a.tanh()


def relu(a: Tensor) -> Tensor:
    """The rectifier, max(a, 0)."""
    return a.relu()


def where_positive(a: Tensor, b: Tensor) -> Tensor:
    """Give b where a > 0 or a isn't a number, else 0: with relu's result as a, its derivative times b."""
    return b.masked_fill(a <= 0, 0)
