"""All steps of a block of sequences, backward."""

import triton
import triton.language as tl

from carrossel.cells.kernels.cuda.product import load_tiles, load_vectors, multiply, store_tiles


@triton.jit
def _differentiate(
    gates,
    hs,
    ms,
    dgates,
    gradient,
    dh_out,
    dm_out,
    dvectors,
    vectors,
    tile,
    batch,
    BACKWARD: tl.constexpr,
    GATES: tl.constexpr,
    EARLY: tl.constexpr,
    VECTORS: tl.constexpr,
    MEMORY: tl.constexpr,
    CARRIED: tl.constexpr,
    KEEPS_GATES: tl.constexpr,
):
    """One step of one tile: the derivatives by early gates, and by h and m other than through products."""
    hidden = tile[3]
    width = GATES * hidden
    values = ()
    if KEEPS_GATES:
        values = load_tiles(gates, tile, width, GATES)
    h = load_tiles(hs, tile, hidden, 1)[0]
    h_after = load_tiles(hs + batch * hidden, tile, hidden, 1)[0]
    before = (h, None)
    after = (h_after, None)
    if CARRIED:
        before = (h, load_tiles(ms, tile, hidden, 1)[0])
    if MEMORY:
        after = (h_after, load_tiles(ms + batch * hidden, tile, hidden, 1)[0])
    early, by_state, unit = BACKWARD(values, before, after, gradient, load_vectors(vectors, tile, VECTORS))
    store_tiles(dgates, early, tile, width, EARLY)
    if by_state[0] is not None:
        store_tiles(dh_out, (by_state[0],), tile, hidden, 1)
    if by_state[1] is not None:
        store_tiles(dm_out, (by_state[1],), tile, hidden, 1)
    if VECTORS > 0:
        totals = load_tiles(dvectors, tile, VECTORS * hidden, VECTORS)
        grown = ()
        for number in tl.static_range(VECTORS):
            grown = grown + (totals[number] + unit[number],)
        store_tiles(dvectors, grown, tile, VECTORS * hidden, VECTORS)


@triton.jit(do_not_specialize=["time", "batch"])
def unroll_backward(
    hs,
    dy,
    gates,
    ms,
    dgates,
    dhs,
    dms,
    dvectors,
    weight,
    weight_looked,
    weight_late,
    vectors,
    time,
    batch,
    hidden,
    BACKWARD: tl.constexpr,
    FINISH_BACKWARD: tl.constexpr,
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
    """One program takes `ROWS` sequences from the last step to the first.

    A step begins with the products of the gates' derivatives of the step after it, so what they give goes into the gate
    maths without a way through memory.

    Args:
        hs: [time + 1, batch, hidden].
        dy: [time, batch, hidden].
        gates: as the forward pass left them; not read if not KEEPS_GATES.
        ms: [time + 1, batch, hidden], or None.
        dgates: out, [time + 1, batch, GATES·hidden]; zeros after the last step.
        dhs: [2, batch, hidden], zeros; out, the derivative by h before the first step other than through products, in
            number 0 with late gates, else in number time modulo 2.
        dms: likewise, with the given derivative by the last m in number 0; None without m.
        dvectors: out, sums over time, [batch, VECTORS, hidden] of zeros; or None.
        weight: of direct gates, [hidden, DIRECT·hidden].
        weight_looked: [hidden, LOOKED·hidden], or None.
        weight_late: what late gates see of m, [hidden, LATE·hidden], or None.
        vectors: [VECTORS, hidden], or None.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    present = rows < batch
    width = GATES * hidden
    last = (time - 1).to(tl.int64) * batch * hidden  # of a long batch's gates there may be more than 2³¹
    dy += last
    hs += last
    gates += last * GATES
    dgates += last * GATES
    dh_in = dhs
    dh_out = dhs + batch * hidden
    dm_in = dms
    dm_out = dms
    if MEMORY:
        ms += last
        dm_out = dms + batch * hidden
    for _step in range(time):
        dlate = dgates + (GATES - LATE) * hidden
        following = dgates + batch * width
        for first in range(0, hidden, UNITS):
            tile = (rows, present, first + tl.arange(0, UNITS), hidden)
            dh = load_tiles(dh_in, tile, hidden, 1)[0]
            dh += load_tiles(dy, tile, hidden, 1)[0]
            dh = multiply((dh,), following, tile, width, DIRECT * hidden, weight, 1, DEPTH)[0]
            gradient = (dh, None)
            if CARRIED:
                dm = load_tiles(dm_in, tile, hidden, 1)
                if LOOKED > 0:
                    dm = multiply(dm, following, tile, width, LOOKED * hidden, weight_looked, 1, DEPTH)
                gradient = (dh, dm[0])
            if LATE > 0:
                values = load_tiles(gates, tile, width, GATES)
                h = load_tiles(hs, tile, hidden, 1)[0]
                m = load_tiles(ms + batch * hidden, tile, hidden, 1)[0]
                late, dm_late = FINISH_BACKWARD(values, (h, m), gradient)
                store_tiles(dlate, late, tile, width, LATE)
                store_tiles(dh_out, (dh,), tile, hidden, 1)
                if dm_late is not None:
                    store_tiles(dm_out, (dm_late,), tile, hidden, 1)
            else:
                _differentiate(
                    gates,
                    hs,
                    ms,
                    dgates,
                    gradient,
                    dh_out,
                    dm_out,
                    dvectors,
                    vectors,
                    tile,
                    batch,
                    BACKWARD,
                    GATES,
                    GATES,
                    VECTORS,
                    MEMORY,
                    CARRIED,
                    KEEPS_GATES,
                )
        tl.debug_barrier()
        if LATE > 0:
            for first in range(0, hidden, UNITS):
                tile = (rows, present, first + tl.arange(0, UNITS), hidden)
                dh = load_tiles(dh_out, tile, hidden, 1)
                dm = load_tiles(dm_out, tile, hidden, 1)
                dm = multiply(dm, dlate, tile, width, LATE * hidden, weight_late, 1, DEPTH)
                _differentiate(
                    gates,
                    hs,
                    ms,
                    dgates,
                    dh + dm,
                    dh_in,
                    dm_in,
                    dvectors,
                    vectors,
                    tile,
                    batch,
                    BACKWARD,
                    GATES,
                    GATES - LATE,
                    VECTORS,
                    MEMORY,
                    CARRIED,
                    KEEPS_GATES,
                )
            tl.debug_barrier()
        else:
            dh_next = dh_in
            dh_in = dh_out
            dh_out = dh_next
            if CARRIED:
                dm_next = dm_in
                dm_in = dm_out
                dm_out = dm_next
        dy -= batch * hidden
        hs -= batch * hidden
        gates -= batch * width
        dgates -= batch * width
        if MEMORY:
            ms -= batch * hidden
