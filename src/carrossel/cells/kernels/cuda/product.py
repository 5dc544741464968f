"""Products of a block of sequences with weights, inside kernels.

A tile is (sequences, which of them there are, units, hidden size), and its numbers lie as [units, sequences]: tensor cores
take sixteen of the first at a time, and eight of the second.
"""

import triton
import triton.language as tl


@triton.jit
def load_tiles(memory, tile, width, COUNT: tl.constexpr):
    """The tiles of `COUNT` gates that lie side by side in rows of `width` numbers."""
    rows, present, units, hidden = tile
    at = memory + rows[None, :] * width + units[:, None]
    there = present[None, :] & (units < hidden)[:, None]
    tiles = ()
    for gate in tl.static_range(COUNT):
        tiles = tiles + (tl.load(at + gate * hidden, mask=there, other=0.0),)
    return tiles


@triton.jit
def store_tiles(memory, tiles, tile, width, COUNT: tl.constexpr):
    """As `load_tiles`, the other way."""
    rows, present, units, hidden = tile
    at = memory + rows[None, :] * width + units[:, None]
    there = present[None, :] & (units < hidden)[:, None]
    for gate in tl.static_range(COUNT):
        tl.store(at + gate * hidden, tiles[gate], mask=there)


@triton.jit
def load_vectors(memory, tile, COUNT: tl.constexpr):
    """The weights per unit; 1 beyond the last, since gate maths may divide by them."""
    _rows, _present, units, hidden = tile
    vectors = ()
    for number in tl.static_range(COUNT):
        vectors = vectors + (tl.load(memory + number * hidden + units, mask=units < hidden, other=1.0)[:, None],)
    return vectors


@triton.jit
def multiply(sums, a, tile, width, depth, weight, COUNT: tl.constexpr, DEPTH: tl.constexpr):
    """Add a · weight to the sums of `COUNT` gates.

    Args:
        sums: a tile for each gate.
        a: rows of `width` numbers, of which the first `depth` are multiplied.
        weight: [COUNT·hidden, depth]: what a sum runs over lies side by side, as tensor cores want it.
    """
    rows, present, units, hidden = tile
    for first in range(0, depth, DEPTH):
        inner = first + tl.arange(0, DEPTH)
        right = tl.load(
            a + rows[None, :] * width + inner[:, None], mask=present[None, :] & (inner < depth)[:, None], other=0.0
        )
        at = weight + units[:, None] * depth + inner[None, :]
        there = (inner < depth)[None, :] & (units < hidden)[:, None]
        grown = ()
        for gate in tl.static_range(COUNT):
            left = tl.load(at + gate * hidden * depth, mask=there, other=0.0)
            grown = grown + (tl.dot(left, right, sums[gate], input_precision="tf32x3"),)
        sums = grown
    return sums
