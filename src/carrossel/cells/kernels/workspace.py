"""Memory that is used again: fresh pages cost more than what is computed in them."""

from __future__ import annotations

import os
import weakref
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

LARGEST_POOL = 1 << 28
"""Numbers that free memory may hold (1 GiB); beyond it the rest goes back to the system."""

Memory = tuple["NDArray[np.float32]", int]
"""An array and its address."""


class Pool:
    """Free memory by its size."""

    def __init__(self) -> None:
        self._free: dict[int, list[Memory]] = {}
        self._held = 0
        self._lock = RLock()  # reentrant: a finalizer may run while this thread holds it

    def find(self, count: int) -> Memory:
        """At least `count` numbers, from free memory where there is some."""
        size = _round(count)
        with self._lock:
            fitting = self._free.get(size)
            if fitting:
                self._held -= size
                return fitting.pop()
        raw = np.empty(size + 16, np.float32)
        skip = -raw.ctypes.data % 64 // raw.itemsize
        memory = raw[skip : skip + size]
        return memory, memory.ctypes.data

    def give_back(self, memory: Memory) -> None:
        """Keep it for the next one who wants as much."""
        size = len(memory[0])
        with self._lock:
            if size > LARGEST_POOL:
                return
            while self._held + size > LARGEST_POOL:
                self._drop_one()
            self._free.setdefault(size, []).append(memory)
            self._held += size

    def _drop_one(self) -> None:
        """The oldest of the size that came first."""
        size = next(size for size, memories in self._free.items() if memories)
        del self._free[size][0]
        self._held -= size

    def clear(self) -> None:
        """Let go of all free memory."""
        self._free.clear()
        self._held = 0

    def renew_lock(self) -> None:
        """In a forked child, where a thread that held it isn't there."""
        self._lock = RLock()


pool = Pool()
os.register_at_fork(after_in_child=pool.renew_lock)


@contextmanager
def borrow(count: int) -> Iterator[int]:
    """Address of `count` float32 numbers of any content, on a multiple of 64 bytes, for the time of a `with`."""
    memory = pool.find(count)
    try:
        yield memory[1]
    finally:
        pool.give_back(memory)


def take(count: int) -> Tensor:
    """The same as a tensor, for autograd to keep.

    The memory goes back by itself with the last reference to the tensor, and autograd drops what it saved unless a graph
    is retained.
    """
    memory = pool.find(count)
    view = memory[0][:count]
    weakref.finalize(view, pool.give_back, memory).atexit = False
    return torch.from_numpy(view)


def _round(count: int) -> int:
    """Up to a number with four leading bits: nearly equal sizes share memory, and an eighth of a large one at most is left over."""
    unit = 1 << max(8, count.bit_length() - 4)
    return -(-count // unit) * unit
