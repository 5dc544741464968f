"""All steps of a block of sequences, forward."""

import triton
import triton.language as tl

from carrossel.cells.kernels.cuda.product import load_tiles, load_vectors, multiply, store_tiles


@triton.jit(do_not_specialize=["time", "batch", "skip"])
def unroll_forward(
    hs,
    gates,
    ms,
    weight,
    weight_looked,
    weight_late,
    vectors,
    time,
    batch,
    hidden,
    skip,
    FORWARD: tl.constexpr,
    FINISH: tl.constexpr,
    GATES: tl.constexpr,
    DIRECT: tl.constexpr,
    LOOKED: tl.constexpr,
    LATE: tl.constexpr,
    VECTORS: tl.constexpr,
    MEMORY: tl.constexpr,
    CARRIED: tl.constexpr,
    KEEPS_GATES: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """One program takes `ROWS` sequences from the first step to the last.

    Its threads tell each other what they found through global memory, which the cache keeps near; a barrier comes before
    each reading of what others wrote.

    Args:
        hs: h before the first step, and room for all others; [time + 1, batch, hidden].
        gates: in, W_x x + b; out, the gates; [time, batch, GATES·hidden].
        ms: likewise for m, or None; or two steps' room in turn.
        weight: of direct gates, [DIRECT·hidden, hidden].
        weight_looked: [LOOKED·hidden, hidden], or None.
        weight_late: what late gates see of m, [LATE·hidden, hidden], or None.
        vectors: [VECTORS, hidden], or None.
        skip: from m before a step to m two steps on: 2·batch·hidden, or 0 with two steps' room.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    present = rows < batch
    width = GATES * hidden
    m_before = ms
    m_after = ms
    if MEMORY:
        m_after = ms + batch * hidden
    for _step in range(time):
        h_after = hs + batch * hidden
        for first in range(0, hidden, UNITS):
            tile = (rows, present, first + tl.arange(0, UNITS), hidden)
            sums = load_tiles(gates, tile, width, GATES)
            direct = multiply(sums[:DIRECT], hs, tile, hidden, hidden, weight, DIRECT, DEPTH)
            sums = direct + sums[DIRECT:]
            h = load_tiles(hs, tile, hidden, 1)[0]
            before = (h, None)
            if CARRIED:
                before = (h, load_tiles(m_before, tile, hidden, 1)[0])
            if LOOKED > 0:
                seen = multiply(sums[:LOOKED], m_before, tile, hidden, hidden, weight_looked, LOOKED, DEPTH)
                sums = seen + sums[LOOKED:]
            values, state = FORWARD(sums, before, load_vectors(vectors, tile, VECTORS))
            if MEMORY:
                store_tiles(m_after, (state[1],), tile, hidden, 1)
            if KEEPS_GATES or LATE > 0:
                store_tiles(gates, values, tile, width, GATES)
            if LATE == 0:
                h_next = state[0]
                if FINISH is not None:
                    _late, h_next = FINISH(values, (h, state[1]))
                store_tiles(h_after, (h_next,), tile, hidden, 1)
        tl.debug_barrier()
        if LATE > 0:
            for first in range(0, hidden, UNITS):
                tile = (rows, present, first + tl.arange(0, UNITS), hidden)
                values = load_tiles(gates, tile, width, GATES)
                last = multiply(
                    values[GATES - LATE :],
                    m_after,
                    tile,
                    hidden,
                    hidden,
                    weight_late,
                    LATE,
                    DEPTH,
                )
                h = load_tiles(hs, tile, hidden, 1)[0]
                m = load_tiles(m_after, tile, hidden, 1)[0]
                late, h_next = FINISH(values[: GATES - LATE] + last, (h, m))
                store_tiles(gates + (GATES - LATE) * hidden, late, tile, width, LATE)
                store_tiles(h_after, (h_next,), tile, hidden, 1)
            tl.debug_barrier()
        gates += batch * width
        hs = h_after
        if MEMORY:
            m_next = m_before + skip
            m_before = m_after
            m_after = m_next
