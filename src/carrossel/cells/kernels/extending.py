"""Numba's decorators and settings, typed as they act: numba's own annotations count an argument too many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numba.extending

if TYPE_CHECKING:
    from collections.abc import Callable

intrinsic: Callable[..., Any] = numba.extending.intrinsic
literal_intrinsic: Callable[..., Any] = numba.extending.intrinsic(prefer_literal=True)
overload: Callable[..., Callable[..., Any]] = numba.extending.overload
register_jitable: Callable[..., Callable[..., Any]] = numba.extending.register_jitable
njit: Callable[..., Callable[..., Any]] = numba.njit
config: Any = numba.config
