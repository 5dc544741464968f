"""Diagnostics through training: a look at the probe batch every so many epochs, and D7 on the way."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from carrossel.diagnostics.quantities import gradient_norms, snapshot, update_ratios
from carrossel.training.probe import JACOBIAN_TABLES, TABLES, Columns, Probe

if TYPE_CHECKING:
    from torch import Tensor

    from carrossel.forecaster.module import ForecastModule
    from carrossel.training.config import Training
    from carrossel.training.probe import Measured
    from carrossel.windows.tensor import WindowedSeries

TENSORS = {"tensors": ("epoch", "tensor", "gradient_norm", "update_ratio")}


class GradientDiagnostics(pl.Callback):
    """Measures D1 to D6 and D8 after epochs, and samples the last minibatch of every chunk for D7.

    Epochs are looked at from the first one on, every `diagnose_every`-th (D3 and D4: `jacobians_every`-th), and in the end,
    by `complete`, the one whose weights are kept. All of it lies in the checkpoint.
    """

    def __init__(self, data: WindowedSeries, config: Training) -> None:
        self.probe = Probe(data, config.probe_windows)
        self.every, self.jacobians_every = config.diagnose_every, config.jacobians_every or 0
        tables = TABLES | TENSORS | (JACOBIAN_TABLES if self.jacobians_every else {})
        self._tables: dict[str, Columns] = {
            name: {column: [] for column in columns} for name, columns in tables.items()
        }
        self._scalars: dict[str, float] = {}
        self._norms: dict[str, list[float]] = defaultdict(list)
        self._ratios: dict[str, list[float]] = defaultdict(list)
        self._before: dict[str, Tensor] = {}

    def tables(self) -> dict[str, Columns]:
        """Each table by name, as columns; one without rows has its columns' names. Epochs in the order of measuring."""
        return self._tables

    def scalars(self) -> dict[str, float]:
        """What the epoch that ended last can be compared by; `carrossel.training.probe` says of which layers."""
        return self._scalars

    def complete(self, module: ForecastModule, epoch: int) -> dict[str, float]:
        """Measure what hasn't been of an epoch whose weights `module` has.

        So the weights that are kept have been looked at, however seldom the others were.

        Returns:
            The scalars that are new.
        """
        return self._measure(module, epoch, probe=bool(self.every), jacobians=bool(self.jacobians_every))

    def on_after_backward(self, trainer: pl.Trainer, pl_module: ForecastModule) -> None:  # type: ignore[override]  # our own module
        del trainer
        for name, norm in gradient_norms(pl_module.network).items():
            self._norms[name].append(norm)
        self._before = snapshot(pl_module.network)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: ForecastModule, *_: Any) -> None:  # type: ignore[override]  # our own module
        del trainer
        for name, ratio in update_ratios(self._before, pl_module.network).items():
            self._ratios[name].append(ratio)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: ForecastModule) -> None:  # type: ignore[override]  # our own module
        epoch = trainer.current_epoch
        norms, ratios = (
            {name: sum(values) / len(values) for name, values in seen.items()} for seen in (self._norms, self._ratios)
        )
        columns: Columns = {
            "tensor": list(norms),
            "gradient_norm": list(norms.values()),
            "update_ratio": list(ratios.values()),
        }
        self._append("tensors", epoch, columns)
        self._scalars = {
            "gradient/norm_max": max(norms.values()),
            "weights/update_ratio_max": max(ratios.values()),
            **self._measure(
                pl_module,
                epoch,
                probe=_is_due(epoch, self.every),
                jacobians=_is_due(epoch, self.jacobians_every),
            ),
        }
        self._norms.clear()
        self._ratios.clear()

    def state_dict(self) -> dict[str, Any]:
        return {"tables": self._tables}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._tables = state_dict["tables"]

    def _measure(self, module: ForecastModule, epoch: int, *, probe: bool, jacobians: bool) -> dict[str, float]:
        found: list[Measured] = []
        if probe and epoch not in self._tables["sensitivity"]["epoch"]:
            found.append(self.probe.measure(module))
        if jacobians and epoch not in self._tables["lyapunov"]["epoch"]:
            found.append(self.probe.measure_jacobians(module))
        for measured in found:
            for name, columns in measured.tables.items():
                self._append(name, epoch, columns)
        return {name: value for measured in found for name, value in measured.scalars.items()}

    def _append(self, table: str, epoch: int, columns: Columns) -> None:
        rows = len(next(iter(columns.values())))
        for name, column in self._tables[table].items():
            column.extend([epoch] * rows if name == "epoch" else columns[name])


def _is_due(epoch: int, every: int) -> bool:
    return every > 0 and epoch % every == 0
