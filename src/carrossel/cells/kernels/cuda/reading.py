"""Gate maths read by Triton: a cell's functions as they stand, with the nonlinear functions exchanged for Triton's.

Triton compiles from a function's source and looks other names up in its globals, so a copy of the function with other
globals is enough: its text stays the cell's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any

import triton
import triton.language as tl

from carrossel.cells.kernels import functions
from carrossel.cells.kernels.cuda import functions as namesakes

if TYPE_CHECKING:
    from collections.abc import Callable

    from carrossel.cells.kernels.form import GateMaths


_NAMESAKES: dict[Callable[..., Any], Any] = {
    functions.sigmoid: namesakes.sigmoid,
    functions.tanh: namesakes.tanh,
    functions.relu: namesakes.relu,
    functions.where_positive: namesakes.where_positive,
}


@dataclass(frozen=True)
class Reading:
    """The functions of `GateMaths`, for kernels to call."""

    forward: Any
    backward: Any
    finish: Any
    finish_backward: Any


@cache
def read(maths: GateMaths) -> Reading:
    """What kernels call for a cell's gate maths."""
    finish, finish_backward = (
        None if each is None else _read_function(each) for each in (maths.finish, maths.finish_backward)
    )
    return Reading(_read_function(maths.forward), _read_function(maths.backward), finish, finish_backward)


@cache
def _read_function(function: Callable[..., Any]) -> Any:
    if function in _NAMESAKES:
        return _NAMESAKES[function]
    if not isinstance(function, FunctionType):
        raise TypeError(f"gate maths call {function!r}; Triton can read Python functions alone.")
    named = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    # annotations are looked up though nothing is done with them, and the interpreter wants to see the language
    seen = {"tl": tl, "Any": tl.constexpr(0)} | {name: _read_global(each) for name, each in named.items()}
    twin = FunctionType(function.__code__, function.__globals__ | seen, function.__name__, function.__defaults__)
    twin.__module__, twin.__qualname__ = function.__module__, function.__qualname__
    return triton.jit(twin)


def _read_global(value: Any) -> Any:
    if isinstance(value, int | float):
        return tl.constexpr(value)
    return _read_function(value) if callable(value) else value
