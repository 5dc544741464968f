"""A cell's gate maths, from one vector of units to all rows of a block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrossel.cells.kernels.compilation import compile_callback
from carrossel.cells.kernels.extending import register_jitable
from carrossel.cells.kernels.machine import LANES
from carrossel.cells.kernels.products import FLOAT
from carrossel.cells.kernels.vector import INLINE, add_blocks, load, load_blocks, store, store_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from carrossel.cells.kernels.form import GateMaths

VECTOR = FLOAT * LANES


def _signature(arguments: int) -> str:
    return f"void({', '.join(['int64'] * arguments)})"


def _readable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let compiled code call a plain function."""
    jitable: Callable[..., Any] = register_jitable(**INLINE)(function)
    return jitable


def compile_forward(maths: GateMaths) -> int:
    """Address of phase 2 for all rows of a block: gates, h and m of the next step."""
    cell, blocks, vectors = _readable(maths.forward), maths.gates, maths.vectors
    memory, gives_h, keeps_gates = maths.memory, maths.finish is None, maths.keeps_gates

    def forward(
        rows: int,
        plane: int,
        gates: int,
        gates_row: int,
        h: int,
        h_next: int,
        h_row: int,
        m: int,
        m_next: int,
        m_row: int,
        weights: int,
    ) -> None:
        for _ in range(rows):
            for j in range(0, plane, VECTOR):
                before = load_blocks(gates + j, plane, blocks)
                unit = load_blocks(weights + j, plane, vectors)
                after, state = cell(before, (load(h + j), load(m + j)), unit)
                if keeps_gates:
                    store_blocks(gates + j, plane, after)
                if gives_h:
                    store(h_next + j, state[0])
                if memory:
                    store(m_next + j, state[1])
            gates += gates_row
            h += h_row
            h_next += h_row
            m += m_row
            m_next += m_row

    return compile_callback(forward, _signature(11), maths.forward)


def compile_finish(maths: GateMaths) -> int:
    """Address of phase 4 for all rows of a block: late gates and h of the next step; 0 if there is none."""
    if maths.finish is None:
        return 0
    cell, blocks, late_first = _readable(maths.finish), maths.gates, maths.gates - maths.late

    def finish(
        rows: int, plane: int, gates: int, gates_row: int, h: int, h_next: int, h_row: int, m: int, m_row: int
    ) -> None:
        for _ in range(rows):
            for j in range(0, plane, VECTOR):
                late, h_new = cell(load_blocks(gates + j, plane, blocks), (load(h + j), load(m + j)))
                store_blocks(gates + late_first * plane + j, plane, late)
                store(h_next + j, h_new)
            gates += gates_row
            h += h_row
            h_next += h_row
            m += m_row

    return compile_callback(finish, _signature(9), maths.finish)


def compile_backward(maths: GateMaths) -> int:
    """Address of phase 2's derivative for all rows of a block; gradients of h and m are replaced in place."""
    cell, blocks, vectors, carried = _readable(maths.backward), maths.gates, maths.vectors, maths.carried

    def backward(
        rows: int,
        plane: int,
        gates: int,
        gates_row: int,
        dgates: int,
        dgates_row: int,
        h: int,
        h_next: int,
        h_row: int,
        m: int,
        m_next: int,
        m_row: int,
        dh: int,
        dm: int,
        gradient_row: int,
        weights: int,
        dweights: int,
    ) -> None:
        for _ in range(rows):
            for j in range(0, plane, VECTOR):
                after = load_blocks(gates + j, plane, blocks)
                unit = load_blocks(weights + j, plane, vectors)
                states = (load(h + j), load(m + j)), (load(h_next + j), load(m_next + j))
                gradient = load(dh + j), load(dm + j)
                dbefore, dstate, dunit = cell(after, states[0], states[1], gradient, unit)
                store_blocks(dgates + j, plane, dbefore)
                store(dh + j, dstate[0])
                if carried:
                    store(dm + j, dstate[1])
                if vectors:
                    add_blocks(dweights + j, plane, dunit)
            gates += gates_row
            dgates += dgates_row
            h += h_row
            h_next += h_row
            m += m_row
            m_next += m_row
            dh += gradient_row
            dm += gradient_row

    return compile_callback(backward, _signature(17), maths.backward)


def compile_finish_backward(maths: GateMaths) -> int:
    """Address of phase 4's derivative for all rows of a block; the gradient of m is replaced in place; 0 as above."""
    if maths.finish_backward is None:
        return 0
    cell, blocks = _readable(maths.finish_backward), maths.gates

    def finish_backward(
        rows: int,
        plane: int,
        gates: int,
        gates_row: int,
        dlate: int,
        dlate_row: int,
        h: int,
        h_row: int,
        m: int,
        m_row: int,
        dh: int,
        dm: int,
        gradient_row: int,
    ) -> None:
        for _ in range(rows):
            for j in range(0, plane, VECTOR):
                after = load_blocks(gates + j, plane, blocks)
                late, dm_new = cell(after, (load(h + j), load(m + j)), (load(dh + j), load(dm + j)))
                store_blocks(dlate + j, plane, late)
                store(dm + j, dm_new)
            gates += gates_row
            dlate += dlate_row
            h += h_row
            m += m_row
            dh += gradient_row
            dm += gradient_row

    return compile_callback(finish_backward, _signature(13), maths.finish_backward)
