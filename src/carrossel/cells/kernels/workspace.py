"""Memory that is used again: fresh pages cost more than what is computed in them."""

from __future__ import annotations

import os
import weakref
from contextlib import contextmanager
from threading import RLock as Lock
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

LARGEST_POOL = 1 << 28
"""Numbers that free memory may hold (1 GiB); beyond it the oldest goes back to the system."""

Memory = tuple["NDArray[np.float32]", int]
"""An array and its address."""

_free: list[Memory] = []
_lock = Lock()  # reentrant: a finalizer may run while this thread holds it


@contextmanager
def borrow(count: int) -> Iterator[int]:
    """Address of `count` float32 numbers of any content, on a multiple of 64 bytes, for the time of a `with`."""
    base = _find(count)
    try:
        yield base[1]
    finally:
        _give_back(base)


def take(count: int) -> Tensor:
    """The same as a tensor, for autograd to keep.

    The memory goes back by itself with the last reference to the tensor, and autograd drops what it saved unless a graph
    is retained.
    """
    base = _find(count)
    view = base[0][:count]
    weakref.finalize(view, _give_back, base).atexit = False
    return torch.from_numpy(view)


def _find(count: int) -> Memory:
    with _lock:
        fitting = [(len(base), i) for i, (base, _) in enumerate(_free) if count <= len(base) <= 2 * count + 1024]
        if fitting:
            return _free.pop(min(fitting)[1])
    raw = np.empty(count + 16, np.float32)
    skip = -raw.ctypes.data % 64 // raw.itemsize
    memory = raw[skip : skip + count]
    return memory, memory.ctypes.data


def _give_back(base: Memory) -> None:
    with _lock:
        _free.append(base)
        while len(_free) > 1 and sum(len(each) for each, _ in _free) > LARGEST_POOL:
            del _free[0]


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603  # a thread that held it isn't there in a forked child
    _lock = Lock()


os.register_at_fork(after_in_child=_renew_lock)
