"""The engine's compiled functions, made or loaded on first use and kept for the life of the process."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from carrossel.cells.kernels import backward, copying, forward, packing, products, rows
from carrossel.cells.kernels.compilation import compile_callback, compile_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from carrossel.cells.kernels.form import GateMaths


def _signature(arguments: int) -> str:
    return f"void({', '.join(['int64'] * arguments)})"


@cache
def shared_functions() -> dict[str, int]:
    """Addresses of what all passes use, by their names in the plan."""
    return {
        "multiply": compile_callback(products.multiply, _signature(14)),
        "copy": compile_callback(copying.copy_rows, _signature(6)),
        "add": compile_callback(copying.add_rows, _signature(6)),
        "pack": compile_callback(packing.pack, _signature(9)),
    }


@cache
def run_forward() -> Callable[..., None]:
    """`forward.forward`, compiled."""
    return compile_entry(forward.forward, _signature(4))


@cache
def run_backward() -> Callable[..., None]:
    """`backward.backward`, compiled."""
    return compile_entry(backward.backward, _signature(4))


@cache
def pack_forward() -> Callable[..., None]:
    """`packing.pack_forward`, compiled."""
    return compile_entry(packing.pack_forward, _signature(6))


@cache
def pack_backward() -> Callable[..., None]:
    """`packing.pack_backward`, compiled."""
    return compile_entry(packing.pack_backward, _signature(5))


@cache
def unpack_gradients() -> Callable[..., None]:
    """`packing.unpack_gradients`, compiled."""
    return compile_entry(packing.unpack_gradients, _signature(6))


@cache
def forward_phases(maths: GateMaths) -> tuple[int, int]:
    """Addresses of a cell's `forward` and `finish`; 0 for one it hasn't."""
    return rows.compile_forward(maths), rows.compile_finish(maths)


@cache
def backward_phases(maths: GateMaths) -> tuple[int, int]:
    """Addresses of a cell's `backward` and `finish_backward`; likewise."""
    return rows.compile_backward(maths), rows.compile_finish_backward(maths)
