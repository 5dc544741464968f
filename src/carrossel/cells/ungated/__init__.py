"""Gate maths of networks without gates, h_t = φ(W_x x_t + W_h h_{t-1} + b): what `rnn`, `irnn` and `indrnn` share."""

from __future__ import annotations

from typing import Any

from carrossel.cells.kernels.form import GateMaths
from carrossel.cells.kernels.functions import relu, tanh, where_positive


def _forward_tanh(gates: Any, _before: Any, _vectors: Any) -> Any:
    h = tanh(gates[0])
    return (h,), (h, None)


def _backward_tanh(_gates: Any, _before: Any, after: Any, gradient: Any, _vectors: Any) -> Any:
    h = after[0]
    return (gradient[0] * (1 - h * h),), (None, None), ()


def _forward_relu(gates: Any, _before: Any, _vectors: Any) -> Any:
    h = relu(gates[0])
    return (h,), (h, None)


def _backward_relu(_gates: Any, _before: Any, after: Any, gradient: Any, _vectors: Any) -> Any:
    return (where_positive(after[0], gradient[0]),), (None, None), ()


TANH = GateMaths(1, _forward_tanh, _backward_tanh, keeps_gates=False)
RELU = GateMaths(1, _forward_relu, _backward_relu, keeps_gates=False)
