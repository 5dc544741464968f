"""Weights into panels as wide as a tile, so that the inner loop reads them in order."""

from __future__ import annotations

from typing import Any

from carrossel.cells.kernels.calls import call, read_plan
from carrossel.cells.kernels.copying import clear, transpose
from carrossel.cells.kernels.extending import njit
from carrossel.cells.kernels.products import FLOAT, OPTIONS, PANEL
from carrossel.cells.kernels.vector import load_number, store_number


@njit(**OPTIONS)
def _pack_columns(
    target: int,
    total: int,
    row: int,
    column: int,
    rows: int,
    columns: int,
    source: int,
    row_step: int,
    column_step: int,
) -> None:
    for j in range(columns):
        panel, lane = divmod(column + j, PANEL)
        write = target + FLOAT * ((panel * total + row) * PANEL + lane)
        read = source + FLOAT * j * column_step
        for _ in range(rows):
            store_number(write, load_number(read))
            write += FLOAT * PANEL
            read += FLOAT * row_step


@njit(**OPTIONS)
def _pack_rows(
    target: int, total: int, row: int, column: int, rows: int, columns: int, source: int, row_step: int
) -> None:
    j = 0
    while j < columns:
        panel, lane = divmod(column + j, PANEL)
        run = min(PANEL - lane, columns - j)
        for i in range(rows):
            write = target + FLOAT * ((panel * total + row + i) * PANEL + lane)
            read = source + FLOAT * (i * row_step + j)
            for each in range(run):
                store_number(write + FLOAT * each, load_number(read + FLOAT * each))
        j += run


def pack(
    target: int,
    total: int,
    row: int,
    column: int,
    rows: int,
    columns: int,
    source: int,
    row_step: int,
    column_step: int,
) -> None:
    """Copy a matrix into a rectangle of a packed one.

    Args:
        target: address of the packed matrix, zeros where nothing is copied.
        total: its rows.
        row: where the rectangle begins.
        column: likewise.
        rows: of the rectangle.
        columns: likewise.
        source: address of the matrix.
        row_step: floats from a row of the matrix to the next.
        column_step: floats from a column to the next.
    """
    if column_step == 1:  # read in order
        _pack_rows(target, total, row, column, rows, columns, source, row_step)
    else:
        _pack_columns(target, total, row, column, rows, columns, source, row_step, column_step)


@njit(**OPTIONS)
def _clear_weights(p: Any) -> None:
    clear(p.weight_size + p.weight_looked_size + p.weight_late_size, p.weight)
    clear(p.vectors * p.padded, p.weight_vectors)


def pack_forward(plan: int, weight_x: int, weight_h: int, bias: int, weight_m: int, vectors: int) -> None:
    """Pack a cell's weights for `forward`; addresses of what it hasn't are 0."""
    p = read_plan(plan)
    _clear_weights(p)
    hidden, features, padded = p.hidden, p.features, p.padded
    square = FLOAT * hidden * hidden
    for gate in range(p.late_first + p.late):
        target, column = p.weight, gate * padded
        if p.late_input and gate >= p.late_first:
            target, column = p.weight_late, (gate - p.late_first) * padded
        total = hidden + features + 1
        call(p.pack, (target, total, 0, column, hidden, hidden, weight_h + gate * square, 1, hidden))
        of_x = weight_x + FLOAT * gate * hidden * features
        call(p.pack, (target, total, hidden, column, features, hidden, of_x, 1, features))
        if bias:
            call(p.pack, (target, total, hidden + features, column, 1, hidden, bias + FLOAT * gate * hidden, hidden, 1))
    for gate in range(p.looked):
        call(p.pack, (p.weight_looked, hidden, 0, gate * padded, hidden, hidden, weight_m + gate * square, 1, hidden))
    if not p.late_input:
        for gate in range(p.late):
            of_m = weight_m + (p.looked + gate) * square
            call(p.pack, (p.weight_late, hidden, 0, gate * padded, hidden, hidden, of_m, 1, hidden))
    call(p.copy, (p.vectors, hidden, p.weight_vectors, padded, vectors, hidden))


def pack_backward(plan: int, weight_x: int, weight_h: int, weight_m: int, vectors: int) -> None:
    """Pack a cell's weights, transposed, for `backward`."""
    p = read_plan(plan)
    _clear_weights(p)
    hidden, features, padded = p.hidden, p.features, p.padded
    square = FLOAT * hidden * hidden
    for gate in range(p.late_first + p.late):
        target, total, row = p.weight, p.direct * padded, gate * padded
        if p.late_input and gate >= p.late_first:
            target, total, row = p.weight_late, p.late * padded, (gate - p.late_first) * padded
        call(p.pack, (target, total, row, 0, hidden, hidden, weight_h + gate * square, hidden, 1))
        if p.needs_x:
            of_x = weight_x + FLOAT * gate * hidden * features
            call(p.pack, (target, total, row, padded, hidden, features, of_x, features, 1))
    for gate in range(p.looked):
        rows = p.looked * padded
        call(p.pack, (p.weight_looked, rows, gate * padded, 0, hidden, hidden, weight_m + gate * square, hidden, 1))
    if not p.late_input:
        for gate in range(p.late):
            of_m = weight_m + (p.looked + gate) * square
            call(p.pack, (p.weight_late, p.late * padded, gate * padded, 0, hidden, hidden, of_m, hidden, 1))
    call(p.copy, (p.vectors, hidden, p.weight_vectors, padded, vectors, hidden))


def unpack_gradients(plan: int, weight_x: int, weight_h: int, bias: int, weight_m: int, vectors: int) -> None:
    """Add up all threads' sums, in the first one's place, and write them where the gradients are wanted."""
    p = read_plan(plan)
    hidden, features, padded, width = p.hidden, p.features, p.padded, p.gate_width
    of_x, of_bias = FLOAT * hidden * width, FLOAT * (hidden + features) * width
    for thread in range(1, p.threads):
        call(p.add, (1, p.sums_thread, p.sums, 0, p.sums + FLOAT * thread * p.sums_thread, 0))
    for gate in range(p.late_first + p.late):
        columns, unit = p.sums + FLOAT * gate * padded, FLOAT * gate * hidden
        transpose(hidden, hidden, weight_h + unit * hidden, columns, width)
        transpose(hidden, features, weight_x + unit * features, columns + of_x, width)
        call(p.copy, (1, hidden, bias + unit, 0, columns + of_bias, 0))
    seen = p.sums + FLOAT * (hidden + features + 1) * width
    square = FLOAT * hidden * hidden
    for first, count in ((0, p.looked), (p.looked, 0 if p.late_input else p.late)):
        for gate in range(count):
            transpose(hidden, hidden, weight_m + (first + gate) * square, seen + FLOAT * gate * padded, count * padded)
        seen += FLOAT * hidden * count * padded
    call(p.copy, (p.vectors, hidden, vectors, hidden, seen, padded))
