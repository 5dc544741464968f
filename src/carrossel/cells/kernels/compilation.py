"""Compile a function once per machine: numba's disk cache, with what numba's key leaves out.

Numba keys a cached function by its own file. These functions are made of parts from several files (a cell's gate maths,
vectors, tiles), so the name they are cached under carries a fingerprint of all of them, and each cell's has its own:
two processes that compile at the same time never write one file with two contents.
"""

from __future__ import annotations

import hashlib
import inspect
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llvmlite
import numba

from carrossel.cells.kernels.extending import config
from carrossel.cells.kernels.notices import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

_OPTIONS: dict[str, Any] = {"error_model": "numpy"}


def compile_callback(function: Callable[..., None], signature: str, *parts: Callable[..., Any]) -> int:
    """Address of a compiled function, for compiled code to call.

    Args:
        function: takes and gives what `signature` says; it may close over `parts` and numbers.
        signature: in numba's notation.
        parts: functions from other files that it is made of.
    """
    name = _rename(function, parts)
    return int(_compile(lambda stored: numba.cfunc(signature, cache=stored, **_OPTIONS)(function), name).address)


def compile_entry(function: Callable[..., None], signature: Any) -> Callable[..., None]:
    """A compiled function for Python to call; it runs without the interpreter's lock."""
    name = _rename(function, ())
    entry: Callable[..., None] = _compile(
        lambda stored: numba.njit(signature, cache=stored, nogil=True, **_OPTIONS)(function), name
    )
    return entry


def _compile(compile_stored: Callable[[bool], Any], name: str) -> Any:
    try:
        return compile_stored(True)  # noqa: FBT003  # numba's own `cache`
    except (RuntimeError, OSError) as error:
        if not isinstance(error, OSError) and "cannot cache" not in str(error):
            raise
        warn_once(
            "cache",
            f"compiled kernels can't be kept ({name}: {error}), so every process compiles them anew, about ten seconds. "
            "Set NUMBA_CACHE_DIR to a folder that can be written.",
        )
        return compile_stored(False)  # noqa: FBT003  # numba's own `cache`


def _rename(function: Callable[..., Any], parts: tuple[Callable[..., Any], ...]) -> str:
    """Give a function the name it is cached under."""
    digest = hashlib.sha256(_engine_fingerprint())
    for part in parts:
        digest.update(f"{part.__module__}.{part.__qualname__}".encode())
        digest.update(Path(inspect.getfile(part)).read_bytes())
    name = f"{function.__name__}_{digest.hexdigest()[:16]}"
    function.__qualname__ = name
    return name


@cache
def _engine_fingerprint() -> bytes:
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {config.CPU_NAME}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.digest()
