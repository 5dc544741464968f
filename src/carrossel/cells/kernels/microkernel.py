"""The inner loop of every product: a tile of C kept in registers while it runs along the summed dimension."""

from __future__ import annotations

from itertools import product
from typing import Any

from llvmlite import ir
from numba import types

from carrossel.cells.kernels.extending import intrinsic
from carrossel.cells.kernels.machine import LANES
from carrossel.cells.kernels.vector import ALIGNMENT, FLOAT, LLVM_VECTOR, splat

INDEX = ir.IntType(64)


def build_tile(rows: int, vectors: int, panels: int = 1) -> Any:
    """An intrinsic that computes C = A B, or C += A B, for one tile of `rows` × `panels`·`vectors`·LANES.

    Its arguments, all integers:
        runs, depth: terms of each sum come in `runs` runs of `depth`, each at least 1.
        a, a_row, a_step, a_run: address of A; distance in floats between rows, between terms of a run, and between the
            beginnings of runs.
        b, b_step, b_panel: address of B; distance in floats between terms, of all runs, and between panels, in each of
            which `vectors` vectors lie side by side.
        c, c_row: address of C; distance in floats between rows.
        accumulate: 0 for C = A B, else C += A B.
    """

    @intrinsic
    def tile(
        _typing: Any,
        _runs: Any,
        _depth: Any,
        _a: Any,
        _a_row: Any,
        _a_step: Any,
        _a_run: Any,
        _b: Any,
        _b_step: Any,
        _b_panel: Any,
        _c: Any,
        _c_row: Any,
        _accumulate: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            _emit(builder, rows, vectors, panels, *arguments)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 12), generate

    return tile


def _emit(
    builder: Any,
    rows: int,
    vectors: int,
    panels: int,
    runs: Any,
    depth: Any,
    a: Any,
    a_row: Any,
    a_step: Any,
    a_run: Any,
    b: Any,
    b_step: Any,
    b_panel: Any,
    c: Any,
    c_row: Any,
    accumulate: Any,
) -> None:
    cells = list(product(range(rows), range(panels * vectors)))
    a, b, c = (builder.inttoptr(address, FLOAT.as_pointer()) for address in (a, b, c))
    a_rows = [builder.gep(a, [builder.mul(a_row, INDEX(m))]) for m in range(rows)]
    c_rows = [builder.gep(c, [builder.mul(c_row, INDEX(m))]) for m in range(rows)]
    c_cells = [_vector_at(builder, c_rows[m], v) for m, v in cells]
    zero = ir.Constant(LLVM_VECTOR, [0.0] * LANES)

    names = ("start", "run", "loop", "run_done", "done")
    start, run, loop, run_done, done = (builder.append_basic_block(f"tile_{name}") for name in names)
    builder.branch(start)
    builder.position_at_end(start)
    builder.branch(run)

    builder.position_at_end(run)
    finished = builder.phi(INDEX)
    before = [builder.phi(LLVM_VECTOR) for _ in cells]
    a_first = builder.mul(finished, a_run)
    b_first = builder.gep(b, [builder.mul(builder.mul(finished, depth), b_step)])
    builder.branch(loop)

    builder.position_at_end(loop)
    term = builder.phi(INDEX)
    sums = [builder.phi(LLVM_VECTOR) for _ in cells]
    a_offset = builder.add(a_first, builder.mul(term, a_step))
    b_term = builder.gep(b_first, [builder.mul(term, b_step)])
    b_panels = [builder.gep(b_term, [builder.mul(b_panel, INDEX(p))]) for p in range(panels)]
    columns = [
        builder.load(_vector_at(builder, b_panels[v // vectors], v % vectors), align=ALIGNMENT)
        for v in range(panels * vectors)
    ]
    numbers = [splat(builder, builder.load(builder.gep(a_rows[m], [a_offset]))) for m in range(rows)]
    # "muladd" becomes one instruction where the machine has it, and a product and a sum where it hasn't
    name = f"llvm.fmuladd.v{LANES}f32"
    muladd = builder.module.declare_intrinsic(name, (), ir.FunctionType(LLVM_VECTOR, [LLVM_VECTOR] * 3))
    added = [builder.call(muladd, [numbers[m], columns[v], sums[i]]) for i, (m, v) in enumerate(cells)]
    following = builder.add(term, INDEX(1))
    term.add_incoming(INDEX(0), run)
    term.add_incoming(following, loop)
    for each, first, next_sum in zip(sums, before, added, strict=True):
        each.add_incoming(first, run)
        each.add_incoming(next_sum, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, run_done)

    builder.position_at_end(run_done)
    next_run = builder.add(finished, INDEX(1))
    finished.add_incoming(INDEX(0), start)
    finished.add_incoming(next_run, run_done)
    for each, next_sum in zip(before, added, strict=True):
        each.add_incoming(zero, start)
        each.add_incoming(next_sum, run_done)
    builder.cbranch(builder.icmp_signed("<", next_run, runs), run, done)

    builder.position_at_end(done)
    _write(builder, added, c_cells, accumulate)


def _write(builder: Any, sums: list[Any], c_cells: list[Any], accumulate: Any) -> None:
    """Sums into C; what it holds joins here, not where they begin, so that a sum over many calls runs on two levels."""
    done = builder.block
    add, write = (builder.append_basic_block(f"tile_{name}") for name in ("add", "write"))
    builder.cbranch(builder.icmp_signed("!=", accumulate, INDEX(0)), add, write)
    builder.position_at_end(add)
    totals = [builder.fadd(builder.load(cell, align=ALIGNMENT), each) for cell, each in zip(c_cells, sums, strict=True)]
    builder.branch(write)
    builder.position_at_end(write)
    results = [builder.phi(LLVM_VECTOR) for _ in sums]
    for result, each, total in zip(results, sums, totals, strict=True):
        result.add_incoming(each, done)
        result.add_incoming(total, add)
    for result, cell in zip(results, c_cells, strict=True):
        builder.store(result, cell, align=ALIGNMENT)


def _vector_at(builder: Any, row: Any, index: int) -> Any:
    return builder.bitcast(builder.gep(row, [INDEX(index * LANES)]), LLVM_VECTOR.as_pointer())
