"""Rows in and out of the engine's padded buffers."""

from __future__ import annotations

from carrossel.cells.kernels.calls import call
from carrossel.cells.kernels.extending import njit
from carrossel.cells.kernels.machine import LANES
from carrossel.cells.kernels.products import FLOAT, OPTIONS
from carrossel.cells.kernels.vector import load, load_number, store, store_number


def copy_rows(rows: int, count: int, target: int, target_row: int, source: int, source_row: int) -> None:
    """Copy `count` numbers of each row; row distances are in floats."""
    whole = count - count % LANES
    for _ in range(rows):
        for i in range(0, whole, LANES):
            store(target + FLOAT * i, load(source + FLOAT * i))
        for i in range(whole, count):
            store_number(target + FLOAT * i, load_number(source + FLOAT * i))
        target += FLOAT * target_row
        source += FLOAT * source_row


def add_rows(rows: int, count: int, target: int, target_row: int, source: int, source_row: int) -> None:
    """Add `count` numbers of each row to those of another."""
    whole = count - count % LANES
    for _ in range(rows):
        for i in range(0, whole, LANES):
            store(target + FLOAT * i, load(target + FLOAT * i) + load(source + FLOAT * i))
        for i in range(whole, count):
            store_number(target + FLOAT * i, load_number(target + FLOAT * i) + load_number(source + FLOAT * i))
        target += FLOAT * target_row
        source += FLOAT * source_row


@njit(**OPTIONS)
def transpose(rows: int, columns: int, target: int, source: int, source_row: int) -> None:
    """Write rows × columns numbers, one row after another, from a matrix whose rows are these columns."""
    for i in range(rows):
        for j in range(columns):
            store_number(target, load_number(source + FLOAT * (j * source_row + i)))
            target += FLOAT


@njit(**OPTIONS)
def clear(count: int, target: int) -> None:
    """Zeros over `count` numbers, a multiple of LANES."""
    for i in range(0, count, LANES):
        store(target + FLOAT * i, None)


@njit(**OPTIONS)
def clear_columns(rows: int, count: int, target: int, target_row: int) -> None:
    """Zeros over the first `count` numbers of each row, a multiple of LANES."""
    for _ in range(rows):
        for i in range(0, count, LANES):
            store(target + FLOAT * i, None)
        target += FLOAT * target_row


@njit(**OPTIONS)
def append_input(
    copy: int, rows: int, hidden: int, features: int, state: int, state_row: int, x: int, x_row: int
) -> None:
    """Write [x | 1] behind the h of each row."""
    behind = state + FLOAT * hidden
    call(copy, (rows, features, behind, state_row, x, x_row))
    one = behind + FLOAT * features
    for _ in range(rows):
        store_number(one, 1.0)
        one += FLOAT * state_row
