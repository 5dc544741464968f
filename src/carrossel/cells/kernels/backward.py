"""Back through time, for blocks of sequences: the phases of `forward.py` in reverse.

The gradients of gates are gathered over a chunk of steps before they meet the states in one product per weight: the sums
are then long enough to stay in registers, and every sum runs on two levels, which keeps float32 accurate at large batch
and length.
"""

# ruff: noqa: RUF005 - arguments of compiled functions come in groups (matrix by matrix), joined by +

from __future__ import annotations

from typing import Any

from carrossel.cells.kernels.calls import call, read_plan
from carrossel.cells.kernels.copying import clear, clear_columns
from carrossel.cells.kernels.extending import njit
from carrossel.cells.kernels.products import FLOAT, OPTIONS, PANEL


def backward(plan: int, first_block: int, last_block: int, thread: int) -> None:
    """Run blocks `first_block` … `last_block − 1` from the last time step to the first, into one thread's sums."""
    p = read_plan(plan)
    dgates = p.scratch + FLOAT * thread * p.scratch_thread
    dh = dgates + FLOAT * p.chunk * p.rows * p.dgate_width
    dm = dh + FLOAT * p.rows * p.gradient_width
    dvectors = dm + FLOAT * p.rows * p.gradient_width
    sums = p.sums + FLOAT * thread * p.sums_thread
    clear(p.sums_thread, sums)
    clear(p.vectors * p.padded, dvectors)
    for block in range(first_block, last_block):
        _run_block(p, block, dgates, dh, dm, dvectors, sums)


@njit(**OPTIONS)
def _run_block(p: Any, block: int, dgates_chunk: int, dh: int, dm: int, dvectors: int, sums: int) -> None:
    hidden, width = p.hidden, p.state_width
    begin = block * p.rows
    rows = min(p.rows, p.batch - begin)
    state_step = FLOAT * p.batch * width
    gates_step = FLOAT * rows * p.gate_width
    state = p.states + FLOAT * begin * width + p.time * state_step
    gates = p.gates + FLOAT * block * p.gates_block + p.time * gates_step * p.gates_kept
    m, m_width, m_step = state, width, state_step
    clear(rows * p.gradient_width, dh)
    clear(rows * p.gradient_width, dm)
    if p.memory:
        m_width = p.memory_width
        m_step = FLOAT * rows * m_width
        m = p.memories + FLOAT * block * p.memories_block + p.time * m_step
        if p.dm_last:
            call(p.copy, (rows, hidden, dm, p.gradient_width, p.dm_last + FLOAT * begin * hidden, hidden))
    for t in range(p.time - 1, -1, -1):
        state_next, m_next = state, m
        state -= state_step
        m -= m_step
        gates -= gates_step * p.gates_kept
        row = t * p.batch + begin
        slot = t % p.chunk
        dgates = dgates_chunk + FLOAT * slot * rows * p.dgate_width
        call(p.add, (rows, hidden, dh, p.gradient_width, p.dy + FLOAT * row * hidden, hidden))
        if p.late:
            _step_late(p, rows, gates, dgates, state, m_next, m_width, dh, dm)
        call(
            p.backward,
            (rows, FLOAT * p.padded, gates, FLOAT * p.gate_width, dgates, FLOAT * p.dgate_width)
            + (state, state_next, FLOAT * width, m, m_next, FLOAT * m_width)
            + (dh, dm, FLOAT * p.gradient_width, p.weight_vectors, dvectors),
        )
        _pass_on(p, rows, dgates, dh, dm)
        if p.needs_x:
            inputs = dh + FLOAT * p.padded
            call(p.copy, (rows, p.features, p.dx + FLOAT * row * p.features, p.features, inputs, p.gradient_width))
        if slot == 0:
            steps = min(p.chunk, p.time - t)
            _add_weight_gradients(p, steps, rows, dgates, state, m, m + m_step, m_width, dvectors, sums)
    call(p.copy, (rows, hidden, p.dh_first + FLOAT * begin * hidden, hidden, dh, p.gradient_width))
    if p.carried:
        call(p.copy, (rows, hidden, p.dm_first + FLOAT * begin * hidden, hidden, dm, p.gradient_width))


@njit(**OPTIONS)
def _step_late(p: Any, rows: int, gates: int, dgates: int, state: int, m: int, m_width: int, dh: int, dm: int) -> None:
    """Phases 4 and 3: from dh to late gates, and from these to dm."""
    dlate = dgates + FLOAT * p.late_first * p.padded
    call(
        p.finish_backward,
        (rows, FLOAT * p.padded, gates, FLOAT * p.gate_width, dlate, FLOAT * p.dgate_width)
        + (state, FLOAT * p.state_width, m, FLOAT * m_width, dh, dm, FLOAT * p.gradient_width),
    )
    columns = p.gradient_width if p.late_input else p.padded
    clear_columns(rows, columns - p.padded, dm + FLOAT * p.padded, p.gradient_width)
    call(
        p.multiply,
        (rows, columns, 1, p.late * p.padded, dlate, p.dgate_width, 1, 0)
        + (p.weight_late, PANEL, p.weight_late_panel, dm, p.gradient_width, 1),
    )


@njit(**OPTIONS)
def _pass_on(p: Any, rows: int, dgates: int, dh: int, dm: int) -> None:
    """Phase 1: from gates to m, h and x before the step, added to what phase 2 left there."""
    if p.looked:
        call(
            p.multiply,
            (rows, p.padded, 1, p.looked * p.padded, dgates, p.dgate_width, 1, 0)
            + (p.weight_looked, PANEL, p.weight_looked_panel, dm, p.gradient_width, 1),
        )
    if p.needs_x:
        inputs = FLOAT * p.padded
        if p.late_input:
            call(p.copy, (rows, p.features, dh + inputs, p.gradient_width, dm + inputs, p.gradient_width))
        else:
            clear_columns(rows, p.gradient_width - p.padded, dh + inputs, p.gradient_width)
    call(
        p.multiply,
        (rows, p.gradient_width, 1, p.direct * p.padded, dgates, p.dgate_width, 1, 0)
        + (p.weight, PANEL, p.weight_panel, dh, p.gradient_width, 1),
    )


@njit(**OPTIONS)
def _add_weight_gradients(
    p: Any,
    steps: int,
    rows: int,
    dgates: int,
    states: int,
    m_before: int,
    m_after: int,
    m_width: int,
    dvectors: int,
    sums: int,
) -> None:
    """Add the sums over the rows of a chunk to a thread's sums, transposed: [h | x | 1] fills tiles without padding."""
    width, padded = p.state_width, p.padded
    depth = p.hidden + p.features + 1
    of_states = (steps, rows, states, 1, width, p.batch * width)
    call(
        p.multiply,
        (depth, p.direct * padded) + of_states + (dgates, p.dgate_width, PANEL, sums, p.gate_width, 1),
    )
    seen = sums + FLOAT * depth * p.gate_width
    if p.looked:
        of_m = (steps, rows, m_before, 1, m_width, rows * m_width)
        columns = p.looked * padded
        call(p.multiply, (p.hidden, columns) + of_m + (dgates, p.dgate_width, PANEL, seen, columns, 1))
        seen += FLOAT * p.hidden * columns
    if p.late:
        of_m = (steps, rows, m_after, 1, m_width, rows * m_width)
        columns, late_from = p.late * padded, FLOAT * p.late_first * padded
        from_late = (dgates + late_from, p.dgate_width, PANEL)
        if p.late_input:
            call(p.multiply, (depth, columns) + of_m + from_late + (sums + late_from, p.gate_width, 1))
        else:
            call(p.multiply, (p.hidden, columns) + of_m + from_late + (seen, columns, 1))
            seen += FLOAT * p.hidden * columns
    if p.vectors:
        call(p.add, (1, p.vectors * padded, seen, 0, dvectors, 0))
        clear(p.vectors * padded, dvectors)
