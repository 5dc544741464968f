"""The nonlinear functions of gate maths, for kernels: namesakes of those in `carrossel.cells.kernels.functions`."""

import triton
import triton.language as tl


@triton.jit
def sigmoid(a):
    """The logistic function."""
    return tl.sigmoid(a)


@triton.jit
def tanh(a):
    """Hyperbolic tangent: near 0, where the quotient would lose digits, its series; error 3e-7. NaN passes through both."""
    square = a * a
    series = a * (1 + square * (-0.33333333 + square * (0.13333333 + square * (-0.05396825 + square * 0.02186949))))
    power = tl.exp(-2 * tl.abs(a))
    quotient = (1 - power) / (1 + power)
    return tl.where(tl.abs(a) < 0.25, series, tl.where(a < 0, -quotient, quotient))


@triton.jit
def relu(a):
    """The rectifier; NaN stays."""
    return tl.where(a <= 0, 0.0, a)


@triton.jit
def where_positive(a, b):
    """Give b where a > 0 or a isn't a number, else 0."""
    return tl.where(a <= 0, 0.0, b)
