"""What diagnostics measured of a network at the epoch whose weights were kept, and the numbers that sum it up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carrossel.diagnostics.curves import carrier, fading, halving, nearest_lags
from carrossel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_FILES = {
    "gradient_by_lag": ("epoch", "layer", "lag", "h"),
    "spectrum": ("epoch", "layer", "gate", "spectral_radius"),
    "sensitivity": ("epoch", "lag", "norm"),
    "gates": ("epoch", "layer", "gate", "shut", "open"),
    "kept": ("epoch", "layer", "lag", "kept"),
}


@dataclass(frozen=True)
class Memory:
    """One network. Curves are by lag from 0 and empty where they weren't measured, or where a cell has no such thing.

    Attributes:
        gradient: D1 of the lowest layer, by what carries its memory: see `carrier`.
        kept: D8 of the lowest layer.
        sensitivity: D2.
        gates: D6 by gate, means over units and layers: the fractions of steps shut and open; None if not measured.
        radius: D5: the largest spectral radius of any gate's recurrent weights; None where there are none.
    """

    gradient: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    kept: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    sensitivity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    gates: Mapping[str, tuple[float, float]] | None = None
    radius: float | None = None

    @property
    def reach(self) -> int | None:
        """Bars whose gradient is more than a thousandth of the last one's."""
        return fading(self.gradient).memory if len(self.gradient) else None

    @property
    def gradient_half(self) -> float | None:
        """Bars after which the gradient has halved; None if it doesn't within the window."""
        return halving(self.gradient)

    @property
    def kept_half(self) -> float | None:
        """Bars after which the gates alone let through half."""
        return halving(self.kept)

    @property
    def listens(self) -> int | None:
        """Bars that hold 90 % of the forecast's sensitivity."""
        return nearest_lags(self.sensitivity)

    @property
    def shut(self) -> float | None:
        """Mean share of shut gates, all of its gates together."""
        return self._mean_of_gates(0)

    @property
    def open(self) -> float | None:
        """Mean share of open gates, likewise."""
        return self._mean_of_gates(1)

    def _mean_of_gates(self, side: int) -> float | None:
        return float(np.mean([shares[side] for shares in self.gates.values()])) if self.gates else None


def read_memory(folder: Path, epoch: int) -> Memory:
    """From the tables of a model folder; models of before lack some of them.

    Args:
        folder: `models/D/C`.
        epoch: the one whose weights were kept; the last one measured is taken if that one wasn't.

    Raises:
        ModelError: if a table can't be read or lacks a column.
    """
    tables = {name: _read(folder / f"{name}.csv", columns) for name, columns in _FILES.items()}
    now = {name: None if table is None else _at_epoch(table, epoch) for name, table in tables.items()}
    lags, kept = (_lowest(now[name]) for name in ("gradient_by_lag", "kept"))
    gates, spectrum = now["gates"], now["spectrum"]
    return Memory(
        gradient=_curve(lags, _followed(lags)),
        kept=_curve(kept, "kept"),
        sensitivity=_curve(now["sensitivity"], "norm"),
        gates=None if gates is None else _saturation(gates),
        radius=None if spectrum is None or spectrum.empty else float(spectrum["spectral_radius"].max()),
    )


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame | None:
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ModelError(f"{path} can't be read ({error}). Train it again.") from None
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise ModelError(f"{path} has no column {', '.join(lacking)}. Train it again.")
    return table


def _at_epoch(table: pd.DataFrame, epoch: int) -> pd.DataFrame:
    chosen = table[table["epoch"] == epoch]
    return chosen if len(chosen) else table[table["epoch"] == table["epoch"].max()]


def _lowest(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """Rows of the lowest layer: its error travels furthest."""
    return None if table is None else table[table["layer"] == table["layer"].min()]


def _followed(lags: pd.DataFrame | None) -> str:
    """The column of D1 that says how long a cell remembers."""
    if lags is None or "c" not in lags:
        return "h"
    return "c" if carrier(lags.loc[lags["lag"] == 0, "c"]) == "C" else "h"


def _curve(table: pd.DataFrame | None, column: str) -> NDArray[np.float64]:
    if table is None:
        return np.zeros(0)
    curve: NDArray[np.float64] = table.sort_values("lag")[column].to_numpy(dtype=np.float64)
    return curve


def _saturation(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    return {
        str(gate): (float(rows["shut"].mean()), float(rows["open"].mean()))
        for gate, rows in table.groupby("gate", sort=False)
    }
