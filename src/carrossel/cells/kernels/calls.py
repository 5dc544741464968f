"""What compiled code finds by address: other compiled functions, and the plan.

Each function of the engine is compiled on its own and found at run time. So the time loops are compiled once and not
once per cell, and a cell adds but its own few gates; a call costs a nanosecond or two, once per time step and not per unit.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types

from carrossel.cells.kernels.extending import intrinsic
from carrossel.cells.kernels.layout import PLAN

INTEGER = ir.IntType(64)


@intrinsic
def call(_typing: Any, _address: Any, integers: Any) -> Any:
    """Call the C function at an address, `void f(int64, …)`, with a tuple of integers."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, packed = arguments
        kind = ir.FunctionType(ir.VoidType(), [INTEGER] * integers.count)
        function = builder.inttoptr(address, kind.as_pointer())
        builder.call(function, [builder.extract_value(packed, index) for index in range(integers.count)])
        return context.get_dummy_value()

    return types.void(types.intp, integers), generate


_PLAN = numba.from_dtype(PLAN)


@intrinsic
def read_plan(_typing: Any, _address: Any) -> Any:
    """The plan at an address; reading its type from an array would cost Python 50 µs a call."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(_PLAN))

    return _PLAN(types.intp), generate
