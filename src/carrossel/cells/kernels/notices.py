"""What people are told about kernels."""

from __future__ import annotations

import warnings

_warned: set[str] = set()


def warn_once(about: str, message: str) -> None:
    """One warning per process and subject, about kernels that run, but not as well as they could."""
    if about not in _warned:
        _warned.add(about)
        warnings.warn(message, RuntimeWarning, stacklevel=2)
