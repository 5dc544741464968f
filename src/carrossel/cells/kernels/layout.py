"""How the engine's buffers are laid out, and the record by which Python tells compiled code.

Time-major rows: of states [h | x | 1] for all sequences, so that the h of all steps are a view of them; of gates (each gate
padded to whole vectors) and of m for one block of sequences after another.
All counts are of float32 numbers, all addresses of bytes.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from carrossel.cells.kernels.machine import LANES, MACHINE
from carrossel.cells.kernels.products import PANEL

if TYPE_CHECKING:
    from carrossel.cells.kernels.form import GateMaths

LARGEST_BLOCK = 48
"""Sequences in a block: states and gates of one step stay in the first levels of cache."""

BLOCK_COST = 2
"""What a block of sequences costs besides its rows, in rows."""

CHUNK_ROWS = 128
"""Rows summed in registers before they join a weight's gradient: fewer trips to memory, and sums on two levels."""

FEW_SETS = 128
"""Rows whose width is a multiple of this begin in at most 8 of a first-level cache's 64 sets."""

FIELDS = (
    # sizes
    *("time", "batch", "features", "hidden"),
    *("padded", "state_width", "gate_width", "dgate_width", "memory_width", "gradient_width"),
    *("rows", "chunk", "kept", "gates_kept"),
    # the cell, as in GateMaths
    *("memory", "carried", "direct", "looked", "late", "late_input", "late_first", "late_depth", "vectors"),
    # compiled functions
    *("multiply", "copy", "add", "pack", "forward", "finish", "backward", "finish_backward"),
    # buffers, and floats from one block of sequences to the next
    *("states", "gates", "memories", "gates_block", "memories_block"),
    # packed weights, floats from panel to panel, and sizes
    *("weight", "weight_looked", "weight_late", "weight_vectors"),
    *("weight_panel", "weight_looked_panel", "weight_late_panel"),
    *("weight_size", "weight_looked_size", "weight_late_size"),
    # tensors
    *("x", "x_row", "h_first", "m_first", "h_last", "m_last"),
    *("dy", "dm_last", "dx", "dh_first", "dm_first", "needs_x"),
    # of one thread in the backward pass
    *("scratch", "scratch_thread", "sums", "sums_thread", "threads"),
)
WEIGHTS = ("weight", "weight_looked", "weight_late")
PLAN = np.dtype([(name, np.int64) for name in FIELDS])
_INDEX = {name: index for index, name in enumerate(FIELDS)}


class Plan:
    """What compiled code is told about one pass: a record of integers, read there by name.

    Args:
        values: of all fields.
    """

    def __init__(self, values: array[int]) -> None:
        self._values = values

    def copy(self) -> Plan:
        """A plan that can be changed."""
        return Plan(self._values[:])

    def set(self, **fields: int) -> None:
        """Set some fields."""
        for name, value in fields.items():
            self._values[_INDEX[name]] = value

    @property
    def address(self) -> int:
        """Where the record lies, as long as this object lives."""
        return self._values.buffer_info()[0]


def pad(count: int) -> int:
    """Up to whole vectors."""
    return -(-count // LANES) * LANES


@dataclass(frozen=True)
class Layout:
    """Sizes that follow from a cell's form, a shape and a number of threads."""

    maths: GateMaths
    time: int
    batch: int
    features: int
    hidden: int
    threads: int
    kept: bool
    backward: bool = False
    needs_x: bool = False

    @cached_property
    def rows(self) -> int:
        """Sequences in a block: whole tiles for one thread; for several what lets the one with most to do end first."""
        if self.threads == 1:
            rows = -(-self.batch // -(-self.batch // LARGEST_BLOCK))
            return min(self.batch, -(-rows // MACHINE.rows) * MACHINE.rows)

        def longest(rows: int) -> int:
            blocks = -(-self.batch // rows)
            return -(-blocks // self.threads) * (rows + BLOCK_COST)

        return min(self.batch, min(range(LARGEST_BLOCK, 0, -2), key=longest))

    @cached_property
    def blocks(self) -> int:
        return -(-self.batch // self.rows)

    @cached_property
    def used_threads(self) -> int:
        return min(self.threads, self.blocks)

    @cached_property
    def padded(self) -> int:
        return pad(self.hidden)

    @cached_property
    def state_width(self) -> int:
        return pad(self.hidden + self.features + 1)

    @cached_property
    def gate_width(self) -> int:
        return self.maths.gates * self.padded

    @cached_property
    def dgate_width(self) -> int:
        """Of gradients of gates, which are read by columns: at distances of many lines all would fall into few sets of cache."""
        return self.gate_width + LANES if self.gate_width % FEW_SETS == 0 else self.gate_width

    @cached_property
    def memory_width(self) -> int:
        if not self.maths.memory:
            return 0
        return self.state_width if self.maths.late_input else self.padded

    @cached_property
    def gradient_width(self) -> int:
        return self.padded + (pad(self.features) if self.needs_x else 0)

    @cached_property
    def chunk(self) -> int:
        return max(1, min(self.time, CHUNK_ROWS // self.rows))

    @cached_property
    def gates_block(self) -> int:
        steps = self.time if self.kept and self.maths.keeps_gates else 1
        return steps * self.rows * self.gate_width

    @cached_property
    def memories_block(self) -> int:
        return (self.time * self.kept + 1) * self.rows * self.memory_width

    @cached_property
    def states(self) -> int:
        """Numbers in the states before, between and after all steps."""
        return (self.time + 1) * self.batch * self.state_width

    @cached_property
    def activations(self) -> int:
        """Numbers besides that the forward pass keeps for the backward pass, or uses while it runs."""
        return self.blocks * (self.gates_block + self.memories_block)

    @cached_property
    def late_depth(self) -> int:
        return self.hidden + self.features + 1 if self.maths.late_input else self.hidden

    @cached_property
    def weight_sums(self) -> tuple[int, int, int]:
        """Numbers in one thread's sums for the gradients of W, of what sees m besides, and of the vectors."""
        sees = 0 if self.maths.late_input else self.maths.looked + self.maths.late
        return (
            (self.hidden + self.features + 1) * self.gate_width,
            self.hidden * sees * self.padded,
            self.maths.vectors * self.padded,
        )

    @cached_property
    def scratch(self) -> int:
        """Numbers one thread needs in the backward pass besides its sums."""
        rows = self.chunk * self.rows * self.dgate_width + 2 * self.rows * self.gradient_width
        return rows + self.maths.vectors * self.padded

    @cached_property
    def weights(self) -> tuple[tuple[int, int], ...]:
        """Depth and columns of the packed matrices: W, what the first gates see of m, and the late gates' product.

        They are transposed for the backward pass; depths are padded there, as gradients of gates are.
        """
        maths, padded = self.maths, self.padded
        if self.backward:
            late_columns = self.gradient_width if maths.late_input else padded
            return (
                (maths.direct * padded, self.gradient_width),
                (maths.looked * padded, padded),
                (maths.late * padded, late_columns),
            )
        return (
            (self.hidden + self.features + 1, maths.direct * padded),
            (self.hidden, maths.looked * padded),
            (self.late_depth, maths.late * padded),
        )

    @cached_property
    def packed(self) -> int:
        """Numbers in all packed weights."""
        return sum(packed_size(*shape) for shape in self.weights) + self.maths.vectors * self.padded

    @cached_property
    def weight_offsets(self) -> dict[str, int]:
        """Bytes from the packed weights' beginning to each of them."""
        offsets, behind = {}, 0
        for name, shape in zip(WEIGHTS, self.weights, strict=True):
            offsets[name] = behind
            behind += 4 * packed_size(*shape)
        return offsets | {"weight_vectors": behind}

    def place(self, states: int, activations: int, packed: int) -> dict[str, int]:
        """Addresses of all buffers, by their names in the plan, from those of what holds them."""
        found = {name: packed + offset for name, offset in self.weight_offsets.items()}
        return found | {
            "states": states,
            "gates": activations,
            "memories": activations + 4 * self.blocks * self.gates_block,
        }

    def plan(self) -> Plan:
        """A record with all that is known without buffers."""
        maths = self.maths
        plan = Plan(array("q", [0] * len(FIELDS)))
        plan.set(
            time=self.time,
            batch=self.batch,
            features=self.features,
            hidden=self.hidden,
            padded=self.padded,
            state_width=self.state_width,
            gate_width=self.gate_width,
            dgate_width=self.dgate_width,
            memory_width=self.memory_width,
            gradient_width=self.gradient_width,
            rows=self.rows,
            chunk=self.chunk,
            kept=self.kept,
            gates_kept=self.kept and maths.keeps_gates,
            memory=maths.memory,
            carried=maths.carried,
            direct=maths.direct,
            looked=maths.looked,
            late=maths.late,
            late_input=maths.late_input,
            late_first=maths.gates - maths.late,
            late_depth=self.late_depth,
            vectors=maths.vectors,
            gates_block=self.gates_block,
            memories_block=self.memories_block,
            needs_x=self.needs_x,
            threads=self.used_threads,
            scratch_thread=self.scratch,
            sums_thread=sum(self.weight_sums),
        )
        for name, (depth, columns) in zip(WEIGHTS, self.weights, strict=True):
            plan.set(**{f"{name}_panel": depth * PANEL, f"{name}_size": packed_size(depth, columns)})
        return plan


def packed_size(depth: int, columns: int) -> int:
    """Numbers in a packed matrix: whole panels."""
    return -(-columns // PANEL) * PANEL * depth
