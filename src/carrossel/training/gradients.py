"""Gradient diagnostics through training: by lag (D1), of the recurrent weights (D5), per tensor (D7)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytorch_lightning as pl
import torch

from carrossel.cells.unrolling import unroll_stack
from carrossel.diagnostics.quantities import fading, gradient_by_lag, gradient_norms, snapshot, spectrum, update_ratios

if TYPE_CHECKING:
    from torch import Tensor

    from carrossel.forecaster.module import ForecastModule
    from carrossel.windows.tensor import WindowedSeries

Table = list[dict[str, Any]]
TABLES = ("gradient_by_lag", "tensors", "spectrum")


class GradientDiagnostics(pl.Callback):
    """Measures once per epoch on a fixed probe batch, and samples the last minibatch of every chunk for D7.

    Args:
        windows: size of the probe batch: training windows at even distances.
    """

    def __init__(self, data: WindowedSeries, windows: int) -> None:
        train = data.split.train
        self.probe = torch.from_numpy(train[np.linspace(0, len(train) - 1, min(windows, len(train)), dtype=np.int64)])
        self.rows: dict[str, Table] = {name: [] for name in TABLES}
        self._norms: dict[str, list[float]] = defaultdict(list)
        self._ratios: dict[str, list[float]] = defaultdict(list)
        self._before: dict[str, Tensor] = {}

    def tables(self) -> dict[str, Table]:
        """Rows of each table so far, by the table's name."""
        return self.rows

    def scalars(self) -> dict[str, float]:
        """The last epoch's numbers: of the lowest layer's h, since its error travels furthest."""
        by_lag = self._last("gradient_by_lag")
        fade = fading([row["h"] for row in by_lag if row["layer"] == 0])
        tensors = self._last("tensors")
        values = {
            "gradient/slope_per_lag": fade.slope,
            "gradient/half_life_bars": fade.half_life,
            "gradient/memory_bars": float(fade.memory),
            "gradient/norm_max": max(row["gradient_norm"] for row in tensors),
            "weights/update_ratio_max": max(row["update_ratio"] for row in tensors),
            "weights/spectral_radius_max": max(row["spectral_radius"] for row in self._last("spectrum")),
        }
        return {name: value for name, value in values.items() if value is not None}

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
        self.rows["gradient_by_lag"] += [{"epoch": epoch, **row} for row in self._by_lag(pl_module)]
        for name, norms in self._norms.items():
            ratios = self._ratios[name]
            mean_norm, mean_ratio = sum(norms) / len(norms), sum(ratios) / len(ratios)
            self.rows["tensors"].append(
                {"epoch": epoch, "tensor": name, "gradient_norm": mean_norm, "update_ratio": mean_ratio}
            )
        for layer, cell in enumerate(pl_module.network.cells):
            self.rows["spectrum"] += [
                {"epoch": epoch, "layer": layer, **gate._asdict()} for gate in spectrum(cell.weight_h, cell.gates)
            ]
        self._norms.clear()
        self._ratios.clear()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]

    def _by_lag(self, module: ForecastModule) -> Table:
        origins = self.probe.to(module.device)
        series, window, labels = (cast("Tensor", getattr(module, name)) for name in ("series", "window", "labels"))
        with torch.enable_grad():
            states = unroll_stack(module.network.cells, series[origins[:, None] + window].transpose(0, 1))
            head = module.network.head
            # the sum over sequences, so that g_k doesn't depend on the size of the probe batch
            loss = head.loss(head(states[-1][-1].h), labels[origins]) * len(origins)
            layers = gradient_by_lag(loss, states)
        return [
            {"layer": layer, "lag": lag, "h": float(h), "c": None if found.c is None else float(found.c[lag])}
            for layer, found in enumerate(layers)
            for lag, h in enumerate(found.h)
        ]

    def _last(self, table: str) -> Table:
        rows = self.rows[table]
        return [row for row in rows if row["epoch"] == rows[-1]["epoch"]]
