"""Scalers, fitted on training rows alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scaler:
    """x → (x − center) / scale, per column.

    Args:
        center: shape [columns].
        scale: shape [columns], > 0.
    """

    center: Array
    scale: Array

    @classmethod
    def fit(cls, rows: Array, kind: Literal["standard", "minmax"]) -> Scaler:
        """Fit to rows of shape [time, columns], ignoring NaN. A constant column gets scale 1."""
        if kind == "standard":
            center, scale = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
        else:
            center = np.nanmin(rows, axis=0)
            scale = np.nanmax(rows, axis=0) - center
        # Rounding leaves a constant column a deviation around 1e-17; dividing by that would blow it up.
        negligible = scale <= 1e-12 * np.maximum(np.abs(center), np.finfo(float).tiny)
        return cls(center, np.where(negligible, 1.0, scale))

    @classmethod
    def identity(cls, columns: int) -> Scaler:
        """Leaves values as they are."""
        return cls(np.zeros(columns), np.ones(columns))

    def transform(self, rows: Array) -> Array:
        """Scale."""
        return (rows - self.center) / self.scale

    def inverse(self, rows: Array) -> Array:
        """Undo `transform`."""
        return rows * self.scale + self.center

    def as_dict(self) -> dict[str, list[float]]:
        """Plain numbers for a manifest."""
        return {"center": self.center.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scaler:
        """Back from `as_dict`."""
        return cls(np.asarray(values["center"], dtype=np.float64), np.asarray(values["scale"], dtype=np.float64))
