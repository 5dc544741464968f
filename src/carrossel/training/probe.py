"""A fixed batch of windows that a network is looked at with, the same in every epoch: D1 to D6 and D8 as rows of tables."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from carrossel.diagnostics.curves import carrier, fading, halving, nearest_lags
from carrossel.diagnostics.gates import gate_values, kept_by_lag, saturation
from carrossel.diagnostics.jacobians import jacobian_norms, lyapunov_exponents, step_jacobians
from carrossel.diagnostics.quantities import gradient_by_lag, sensitivity_by_lag, spectrum

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float
    from torch import Tensor, nn

    from carrossel.cells.base import Cell, State
    from carrossel.forecaster.module import ForecastModule
    from carrossel.forecaster.network import Network, Trace
    from carrossel.windows.tensor import WindowedSeries

Columns = dict[str, list[Any]]

TABLES = {
    "gradient_by_lag": ("epoch", "layer", "lag", "h", "c"),
    "spectrum": ("epoch", "layer", "gate", "spectral_radius", "largest_singular_value"),
    "sensitivity": ("epoch", "lag", "norm"),
    "gates": ("epoch", "layer", "gate", "unit", "shut", "open"),
    "kept": ("epoch", "layer", "lag", "kept"),
}
JACOBIAN_TABLES = {
    "jacobians": ("epoch", "layer", "lag", "product", "step"),
    "lyapunov": ("epoch", "layer", "rank", "exponent"),
}
JACOBIAN_SEQUENCES = 8  # a mean of norms over more is no other
EXPONENTS = 4


class Measured(NamedTuple):
    """What one look at the network gave.

    Attributes:
        tables: by name, the columns after `epoch`; all of one length, which may be 0.
        scalars: the numbers that cells are compared by, under their names in the history and on the server.
    """

    tables: dict[str, Columns]
    scalars: dict[str, float]


class Probe:
    """Training windows at even distances, run through the network in evaluation mode: no dropout, no noise.

    Nothing random is drawn and no gradient is left behind, so that a training is the same whether it is looked at or not.

    Args:
        windows: their number; the whole training part where it has fewer.
    """

    def __init__(self, data: WindowedSeries, windows: int) -> None:
        train = data.split.train
        self.origins = torch.from_numpy(train[np.linspace(0, len(train) - 1, min(windows, len(train)), dtype=np.int64)])

    def measure(self, module: ForecastModule) -> Measured:
        """D1, D2, D5, D6 and D8.

        The states come from the loop, since D1 needs each step's as a node of the graph; D2 takes whatever is fastest.
        """
        network, x = module.network, self._windows(module)
        labels = cast("Tensor", module.labels)[self.origins.to(module.device)]
        with _evaluating(network), torch.enable_grad():
            traced = network.trace(x.transpose(0, 1))
            # the sum over sequences, so that g_k doesn't depend on the size of the probe batch
            loss = network.head.loss(traced.raw, labels) * len(labels)
            gradients = gradient_by_lag(loss, traced.states)
            window = x.detach().requires_grad_()
            sensitivity = sensitivity_by_lag(network.point(window.transpose(0, 1)), window)
        by_lag, spectra, gates, kept = (
            _empty(TABLES[name]) for name in ("gradient_by_lag", "spectrum", "gates", "kept")
        )
        with torch.no_grad():
            for layer, (cell, inputs, states) in enumerate(_layers(network, traced)):
                found = gradients[layer]
                lags = len(found.h)
                c = [None] * lags if found.c is None else found.c.tolist()
                _add(by_lag, lags, layer=layer, lag=range(lags), h=found.h.tolist(), c=c)
                for gate in spectrum(cell.recurrent_blocks()):
                    _add(spectra, 1, layer=layer, **gate._asdict())
                values = gate_values(cell, inputs, states)
                for name, side in saturation(values).items():
                    shut, opened = side.shut.tolist(), side.open.tolist()
                    _add(gates, len(shut), layer=layer, gate=name, unit=range(len(shut)), shut=shut, open=opened)
                share = cell.kept(values)
                if share is not None:
                    products = kept_by_lag(share).tolist()
                    _add(kept, len(products), layer=layer, lag=range(len(products)), kept=products)
        norms = {"lag": list(range(len(sensitivity))), "norm": sensitivity.tolist()}
        tables = {"gradient_by_lag": by_lag, "spectrum": spectra, "sensitivity": norms, "gates": gates, "kept": kept}
        return Measured(tables, _summarise(tables))

    def measure_jacobians(self, module: ForecastModule) -> Measured:
        """D3 and D4, on the first few windows: about as dear as an epoch."""
        network, x = module.network, self._windows(module)[:, :JACOBIAN_SEQUENCES]
        norms, exponents = (_empty(columns) for columns in JACOBIAN_TABLES.values())
        with _evaluating(network), torch.no_grad():
            traced = network.trace(x.transpose(0, 1))
            for layer, (cell, inputs, states) in enumerate(_layers(network, traced)):
                found = jacobian_norms(step_jacobians(cell, inputs, states))
                lags = len(found.product)
                step = [*found.step[::-1].tolist(), None]  # no step leads to the state before the first
                _add(norms, lags, layer=layer, lag=range(lags), product=found.product.tolist(), step=step)
                growth = lyapunov_exponents(cell, inputs, states, count=EXPONENTS).tolist()
                _add(exponents, len(growth), layer=layer, rank=range(1, len(growth) + 1), exponent=growth)
        top = exponents["exponent"][0]
        scalars = {"jacobian/lyapunov_top": top} if math.isfinite(top) else {}
        return Measured({"jacobians": norms, "lyapunov": exponents}, scalars)

    def _windows(self, module: ForecastModule) -> Float[Tensor, "time batch features"]:
        origins = self.origins.to(module.device)
        series, window = cast("Tensor", module.series), cast("Tensor", module.window)
        return series[origins[:, None] + window].transpose(0, 1)


def _summarise(tables: dict[str, Columns]) -> dict[str, float]:
    """Of curves those of the lowest layer, since its error travels furthest; gates and weights of all layers.

    `memory` is of what carries it (see `carrier`); `gradient` is of h in every cell. What a curve doesn't have, such as the
    half-life of a gradient that doesn't fade, is left out.
    """
    h, c, kept = (
        [value for value, layer in zip(tables[name][column], tables[name]["layer"], strict=True) if layer == 0]
        for name, column in (("gradient_by_lag", "h"), ("gradient_by_lag", "c"), ("kept", "kept"))
    )
    fade, followed = fading(h), c if carrier(c[:1]) == "C" else h
    values = {
        "gradient/slope_per_lag": fade.slope,
        "gradient/half_life_bars": fade.half_life,
        "gradient/memory_bars": fade.memory,
        "memory/reach_bars": fading(followed).memory,
        "memory/halving_bars": halving(followed),
        "memory/kept_halving_bars": halving(kept),
        "sensitivity/bars_90": nearest_lags(tables["sensitivity"]["norm"]),
        "weights/spectral_radius_max": max(tables["spectrum"]["spectral_radius"], default=None),
    }
    gates = tables["gates"]
    for gate in dict.fromkeys(gates["gate"]):
        rows = [row for row, name in enumerate(gates["gate"]) if name == gate]
        for side in ("shut", "open"):
            values[f"gates/{gate}_{side}"] = sum(gates[side][row] for row in rows) / len(rows)
    return {name: float(value) for name, value in values.items() if value is not None}


def _layers(network: Network, traced: Trace) -> Iterator[tuple[Cell, Tensor, Sequence[State]]]:
    """Each layer with what it reads; of a bidirectional network the stack that reads forwards."""
    return zip(network.cells, traced.inputs, traced.states, strict=True)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def _empty(columns: Sequence[str]) -> Columns:
    return {name: [] for name in columns if name != "epoch"}


def _add(table: Columns, rows: int, **values: Any) -> None:
    """Rows at the end; a value that is no sequence stands in each of them."""
    for name, column in table.items():
        value = values[name]
        column.extend(value if isinstance(value, (list, range)) else [value] * rows)
