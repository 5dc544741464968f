"""Blocks of sequences over threads. Kernels run without the interpreter's lock, so plain threads do."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from carrossel.cells.kernels.notices import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

_pools: list[ThreadPoolExecutor] = []


def run_blocks(run: Callable[[int, int, int], object], blocks: int, threads: int) -> None:
    """Call `run(first_block, last_block, thread)` for equal shares of the blocks, the first share on this thread."""
    if threads == 1:
        run(0, blocks, 0)
        return
    shares = [(i * blocks // threads, (i + 1) * blocks // threads, i) for i in range(threads)]
    others: list[Future[object]] = []
    for share in shares[1:]:
        try:
            others.append(_pool().submit(run, *share))
        except RuntimeError as error:
            warn_once("threads", f"no more threads can be started ({error}); cells run on fewer.")
            run(*share)
    try:
        run(*shares[0])
    finally:
        _wait(others)
    for other in others:
        other.result()


def _wait(others: list[Future[object]]) -> None:
    """Until all have ended, even if somebody interrupts: they read and write memory that the caller frees."""
    interrupt: KeyboardInterrupt | None = None
    while not all(other.done() for other in others):
        try:
            wait(others)
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _pool() -> ThreadPoolExecutor:
    if not _pools:
        _pools.append(ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 1) - 1), thread_name_prefix="cells"))
    return _pools[0]


os.register_at_fork(after_in_child=_pools.clear)  # threads don't survive a fork
