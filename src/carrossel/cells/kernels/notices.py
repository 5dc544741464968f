"""What people are told about kernels."""

from __future__ import annotations

import warnings

_warned: set[str] = set()


def warn_once(message: str) -> None:
    """One warning per process about kernels that run, but not as well as they could."""
    if not _warned:
        _warned.add(message)
        warnings.warn(message, RuntimeWarning, stacklevel=2)
