"""Matrix products from tiles: C = A B or C += A B with B in panels, each as wide as one tile."""

from __future__ import annotations

from typing import Any

from carrossel.cells.kernels.extending import njit
from carrossel.cells.kernels.machine import LANES, MACHINE
from carrossel.cells.kernels.microkernel import build_tile

PANEL = MACHINE.vectors * LANES
"""Columns of a panel."""

FLOAT = 4
"""Bytes of a number."""

ROW_PANELS = 8 // MACHINE.vectors
"""Panels at once for a single row: one panel's few sums would wait for one another."""

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def _build_strip(vectors: int) -> Any:
    """One panel of C, `vectors` wide: full tiles, then what is left in tiles of four, two and one rows."""
    tiles = {rows: build_tile(rows, vectors) for rows in (MACHINE.rows, 4, 2, 1)}
    full, four, two, one = tiles[MACHINE.rows], tiles[4], tiles[2], tiles[1]
    step = MACHINE.rows

    @njit(**OPTIONS)
    def strip(
        rows: int,
        runs: int,
        depth: int,
        a: int,
        a_row: int,
        a_step: int,
        a_run: int,
        b: int,
        b_step: int,
        c: int,
        c_row: int,
        accumulate: int,
    ) -> None:
        while rows >= step and rows != 8:  # noqa: PLR2004  # 8 = 4 + 4: tiles of two rows run at half speed
            full(runs, depth, a, a_row, a_step, a_run, b, b_step, 0, c, c_row, accumulate)
            rows -= step
            a += FLOAT * step * a_row
            c += FLOAT * step * c_row
        while rows >= 4:  # noqa: PLR2004  # a tile of four rows
            four(runs, depth, a, a_row, a_step, a_run, b, b_step, 0, c, c_row, accumulate)
            rows -= 4
            a += FLOAT * 4 * a_row
            c += FLOAT * 4 * c_row
        if rows >= 2:  # noqa: PLR2004  # a tile of two rows
            two(runs, depth, a, a_row, a_step, a_run, b, b_step, 0, c, c_row, accumulate)
            rows -= 2
            a += FLOAT * 2 * a_row
            c += FLOAT * 2 * c_row
        if rows:
            one(runs, depth, a, a_row, a_step, a_run, b, b_step, 0, c, c_row, accumulate)

    return strip


_widest = _build_strip(MACHINE.vectors)
_two = _widest if MACHINE.vectors == 2 else _build_strip(2)  # noqa: PLR2004  # the widest may be two already
_one = _build_strip(1)
_row = build_tile(1, MACHINE.vectors, ROW_PANELS)


def multiply(
    rows: int,
    columns: int,
    runs: int,
    depth: int,
    a: int,
    a_row: int,
    a_step: int,
    a_run: int,
    b: int,
    b_step: int,
    b_panel: int,
    c: int,
    c_row: int,
    accumulate: int,
) -> None:
    """C = A B, or C += A B.

    Args:
        rows: of A and C.
        columns: of B and C, a multiple of LANES.
        runs: terms of each sum come in so many runs.
        depth: terms of a run.
        a: address of A.
        a_row: floats from a row of A to the next.
        a_step: floats from a column of A to the next, inside a run; A is read transposed where `a_row` is 1.
        a_run: floats from the first column of a run to that of the next.
        b: address of B.
        b_step: floats from a row of B to the next, inside a panel.
        b_panel: floats from a panel of B to the next; PANEL where B isn't packed.
        c: address of C.
        c_row: floats from a row of C to the next.
        accumulate: 0 for C = A B, else C += A B.
    """
    done = 0
    if rows == 1:
        while columns - done >= ROW_PANELS * PANEL:
            _row(runs, depth, a, a_row, a_step, a_run, b, b_step, b_panel, c, c_row, accumulate)
            b += FLOAT * b_panel * ROW_PANELS
            c += FLOAT * PANEL * ROW_PANELS
            done += PANEL * ROW_PANELS
    for column in range(done, columns, PANEL):
        vectors = (columns - column) // LANES
        if vectors >= MACHINE.vectors:
            _widest(rows, runs, depth, a, a_row, a_step, a_run, b, b_step, c, c_row, accumulate)
        else:
            beside = 0
            while vectors - beside >= 2:  # noqa: PLR2004  # a strip of two
                offset = FLOAT * LANES * beside
                _two(rows, runs, depth, a, a_row, a_step, a_run, b + offset, b_step, c + offset, c_row, accumulate)
                beside += 2
            if beside < vectors:
                offset = FLOAT * LANES * beside
                _one(rows, runs, depth, a, a_row, a_step, a_run, b + offset, b_step, c + offset, c_row, accumulate)
        b += FLOAT * b_panel
        c += FLOAT * PANEL
