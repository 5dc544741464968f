"""Forward in time, for blocks of sequences. Knows no cell: phases are in `form.py`, buffers in `layout.py`."""

# ruff: noqa: RUF005 - arguments of compiled functions come in groups (matrix by matrix), joined by +

from __future__ import annotations

from typing import Any

from carrossel.cells.kernels.calls import call, read_plan
from carrossel.cells.kernels.copying import append_input, clear
from carrossel.cells.kernels.extending import njit
from carrossel.cells.kernels.products import FLOAT, OPTIONS, PANEL


def forward(plan: int, first_block: int, last_block: int, _thread: int) -> None:
    """Run blocks `first_block` … `last_block − 1` from the first time step to the last."""
    p = read_plan(plan)
    hidden, width, late_from = p.hidden, p.state_width, FLOAT * p.late_first * p.padded
    for block in range(first_block, last_block):
        begin = block * p.rows
        rows = min(p.rows, p.batch - begin)
        state = p.states + FLOAT * begin * width
        gates = p.gates + FLOAT * block * p.gates_block
        state_step = FLOAT * p.batch * width
        gates_step = FLOAT * rows * p.gate_width * p.gates_kept
        clear(rows * width, state)  # lanes behind the last unit pass from step to step: from zeros they stay numbers
        if p.h_first:
            call(p.copy, (rows, hidden, state, width, p.h_first + FLOAT * begin * hidden, hidden))
        # cells without m never read it; they get an address that is valid
        m, m_width, m_step = state, width, state_step
        if p.memory:
            m = p.memories + FLOAT * block * p.memories_block
            m_width = p.memory_width
            m_step = FLOAT * rows * m_width * p.kept
            clear(rows * m_width, m)
            if p.m_first:
                call(p.copy, (rows, hidden, m, m_width, p.m_first + FLOAT * begin * hidden, hidden))
        for t in range(p.time):
            x = p.x + FLOAT * (t * p.batch + begin) * p.x_row
            state_next, m_next = state + state_step, m + m_step
            append_input(p.copy, rows, hidden, p.features, state, width, x, p.x_row)
            depth = hidden + p.features + 1
            call(
                p.multiply,
                (rows, p.direct * p.padded, 1, depth, state, width, 1, 0)
                + (p.weight, PANEL, p.weight_panel, gates, p.gate_width, 0),
            )
            if p.looked:
                call(
                    p.multiply,
                    (rows, p.looked * p.padded, 1, hidden, m, m_width, 1, 0)
                    + (p.weight_looked, PANEL, p.weight_looked_panel, gates, p.gate_width, 1),
                )
            call(
                p.forward,
                (rows, FLOAT * p.padded, gates, FLOAT * p.gate_width, state, state_next, FLOAT * width)
                + (m, m_next, FLOAT * m_width, p.weight_vectors),
            )
            if p.late:
                if p.late_input:
                    append_input(p.copy, rows, hidden, p.features, m_next, m_width, x, p.x_row)
                call(
                    p.multiply,
                    (rows, p.late * p.padded, 1, p.late_depth, m_next, m_width, 1, 0)
                    + (p.weight_late, PANEL, p.weight_late_panel, gates + late_from, p.gate_width)
                    + (1 - p.late_input,),
                )
            if p.finish:
                call(
                    p.finish,
                    (rows, FLOAT * p.padded, gates, FLOAT * p.gate_width, state, state_next, FLOAT * width)
                    + (m_next, FLOAT * m_width),
                )
            state, m = state_next, m_next
            gates += gates_step
        _hand_out(p, begin, rows, state, m, m_width)


@njit(**OPTIONS)
def _hand_out(p: Any, begin: int, rows: int, state: int, m: int, m_width: int) -> None:
    """The last h, for those who want it apart from the states, and the last m."""
    first = FLOAT * begin * p.hidden
    if p.h_last:
        call(p.copy, (rows, p.hidden, p.h_last + first, p.hidden, state, p.state_width))
    if p.carried:
        call(p.copy, (rows, p.hidden, p.m_last + first, p.hidden, m, m_width))
