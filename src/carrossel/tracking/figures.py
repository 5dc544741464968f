"""A run's figures, from the tables of its model folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from carrossel.diagnostics import figures as diagnostics
from carrossel.diagnostics.curves import carrier
from carrossel.diagnostics.dashboard.figures import Inside, Lines, draw_dashboard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_AXIS = {"price": "price", "log_variance": "log variance of the bar", "probability": "probability of up"}


class Tables(NamedTuple):
    """The files of a model folder that figures are drawn from; their columns are in docs/architecture.md.

    Those from `sensitivity` on are None where the folder has no such file: models of before have none of them.
    """

    forecasts: pd.DataFrame
    gradient_by_lag: pd.DataFrame
    tensors: pd.DataFrame
    spectrum: pd.DataFrame
    sensitivity: pd.DataFrame | None = None
    gates: pd.DataFrame | None = None
    kept: pd.DataFrame | None = None
    jacobians: pd.DataFrame | None = None
    lyapunov: pd.DataFrame | None = None


def draw_baseline(forecasts: pd.DataFrame, name: str, unit: str) -> dict[str, Figure]:
    """The figures of a baseline's run: it has no gradients."""
    return {"forecast": draw_forecast(forecasts, name, unit)}


def draw_run(tables: Tables, name: str, unit: str, epoch: int | None = None) -> dict[str, Figure]:
    """All figures of a network's run under their names; those of what wasn't measured are left out.

    Args:
        tables: of one model folder.
        name: dataset and competitor, for the headings.
        unit: of the forecasts.
        epoch: the one whose weights were kept, which figures of a single epoch show; the last one if not given.
    """
    figures = {"forecast": draw_forecast(tables.forecasts, name, unit)}
    figures["dashboard"] = draw_dashboard(look_inside(tables, epoch), _head_dashboard(tables, name, epoch))
    states: tuple[Literal["h", "C"], ...] = ("h", "C")
    for state in states:
        figures |= _draw_lags(tables.gradient_by_lag.rename(columns={"c": "C"}), state, name, epoch)
    if len(tables.gradient_by_lag):
        figures["gradient_heatmap"] = _draw_heatmap(tables.gradient_by_lag, name)
    norms, ratios = (
        _through_training(tables.tensors, "tensor", values) for values in ("gradient_norm", "update_ratio")
    )
    figures["tensors"] = diagnostics.tensor_norms(
        norms.epochs, norms.values, ratios.values, f"{name}: gradients and updates of each tensor"
    )
    if len(tables.spectrum):
        radius = _draw_radius(tables.spectrum)
        figures["spectral_radius"] = diagnostics.spectral_radius(
            radius.epochs, radius.values, f"{name}: spectral radius of the recurrent weights"
        )
    return figures | _draw_gates(tables, name, epoch) | _draw_jacobians(tables, name, epoch)


def look_inside(tables: Tables, epoch: int | None = None) -> Inside:
    """What the dashboard shows, from a model folder's tables; arguments as for `draw_run`."""
    lags = tables.gradient_by_lag
    heat = _heat(lags)
    kept = {} if tables.kept is None else _by_layer(at_epoch(tables.kept, epoch), "kept")
    sensitivity = None if tables.sensitivity is None else at_epoch(tables.sensitivity, epoch)
    return Inside(
        epochs=heat.index.to_list(),
        g=heat.to_numpy(dtype="float64"),
        gradients=_memory_gradients(at_epoch(lags, epoch)),
        kept=kept,
        sensitivity=None if sensitivity is None else sensitivity.sort_values("lag")["norm"].to_numpy(dtype="float64"),
        saturation=None if tables.gates is None else _saturation(at_epoch(tables.gates, epoch)),
        radius=_draw_radius(tables.spectrum),
        updates=_through_training(tables.tensors, "tensor", "update_ratio"),
    )


def at_epoch(table: pd.DataFrame, epoch: int | None) -> pd.DataFrame:
    """Rows of one epoch; of the last one measured if that one wasn't."""
    chosen = table[table["epoch"] == epoch]
    return chosen if len(chosen) else table[table["epoch"] == table["epoch"].max()]


def draw_forecast(forecasts: pd.DataFrame, name: str, unit: str, *, longest: int = 100) -> Figure:
    """Forecast, truth and persistence over the end of the test part.

    On all of the test part every forecast of a price looks right, since 'tomorrow = today' does: only few bars show
    whether it leads or follows.

    Args:
        forecasts: as in forecasts.parquet.
        name: dataset and competitor.
        unit: of the forecasts.
        longest: bars shown.
    """
    nearest = forecasts[(forecasts["split"] == "test") & (forecasts["horizon"] == forecasts["horizon"].min())]
    rows = nearest.sort_values("time").tail(longest)
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rows["time"], rows["truth"], color="black", linewidth=1.4, label="truth")
    axes.plot(rows["time"], rows["unchanged"], color="0.8", linewidth=4, label="persistence: tomorrow = today")
    axes.plot(rows["time"], rows["forecast"], color=diagnostics.PALETTE[1], linewidth=1.1, label="forecast")
    axes.set(title=f"{name}: forecast against truth, last {len(rows)} bars of test", ylabel=_AXIS[unit])
    if {"q05", "q95"} <= set(rows):
        axes.fill_between(
            rows["time"], rows["q05"], rows["q95"], color=diagnostics.PALETTE[1], alpha=0.2, label="5 % to 95 %"
        )
    axes.tick_params(axis="x", rotation=20)
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_lags(table: pd.DataFrame, of: Literal["h", "C"], name: str, epoch: int | None) -> dict[str, Figure]:
    table = table.dropna(subset=[of])
    if table.empty:  # a cell without C
        return {}
    heading = f"{name}: how far back the gradient reaches, after training"
    return {f"gradient_by_lag_{of}": diagnostics.gradient_by_lag(_by_layer(at_epoch(table, epoch), of), heading, of)}


def _draw_heatmap(table: pd.DataFrame, name: str) -> Figure:
    heat = _heat(table)
    heading = f"{name}: gradient by lag through training"
    return diagnostics.gradient_heatmap(heat.to_numpy(dtype="float64"), heat.index.to_list(), heading)


def _draw_radius(spectrum: pd.DataFrame) -> Lines:
    return _through_training(spectrum.assign(line=_line_names(spectrum, "gate")), "line", "spectral_radius")


def _draw_gates(tables: Tables, name: str, epoch: int | None) -> dict[str, Figure]:
    figures = {}
    if tables.sensitivity is not None and len(tables.sensitivity):
        curve = at_epoch(tables.sensitivity, epoch).sort_values("lag")["norm"].to_numpy(dtype="float64")
        heading = f"{name}: how much the forecast depends on each bar"
        figures["sensitivity_by_lag"] = diagnostics.sensitivity_by_lag({"forecast": curve}, heading)
    if tables.gates is not None and len(tables.gates):
        units = {
            f"layer {layer}": {
                str(gate): (own["shut"].to_numpy(dtype="float64"), own["open"].to_numpy(dtype="float64"))
                for gate, own in rows.groupby("gate", sort=False)
            }
            for layer, rows in at_epoch(tables.gates, epoch).groupby("layer")
        }
        figures["gate_saturation"] = diagnostics.gate_saturation(
            units, f"{name}: how often each unit's gates are saturated"
        )
    if tables.kept is not None and len(tables.kept) and len(tables.gradient_by_lag):
        figures["kept_by_lag"] = diagnostics.kept_by_lag(
            _memory_gradients(at_epoch(tables.gradient_by_lag, epoch)),
            _by_layer(at_epoch(tables.kept, epoch), "kept"),
            f"{name}: the memory's gradient, and what the gates alone let through",
        )
    return figures


def _draw_jacobians(tables: Tables, name: str, epoch: int | None) -> dict[str, Figure]:
    figures = {}
    if tables.jacobians is not None and len(tables.jacobians):
        rows = at_epoch(tables.jacobians, epoch)
        # back from the last step in the file, forward from the first in the figure
        steps = {layer: values[::-1] for layer, values in _by_layer(rows.dropna(subset=["step"]), "step").items()}
        heading = f"{name}: what steps do to a disturbance of the state"
        figures["jacobian_norms"] = diagnostics.jacobian_norms(_by_layer(rows, "product"), steps, heading)
    if tables.lyapunov is not None and len(tables.lyapunov):
        rows = at_epoch(tables.lyapunov, epoch).sort_values(["layer", "rank"])
        exponents = {f"layer {layer}": own["exponent"].to_numpy("float64") for layer, own in rows.groupby("layer")}
        figures["lyapunov_exponents"] = diagnostics.lyapunov_exponents(exponents, f"{name}: Lyapunov exponents")
    return figures


def _head_dashboard(tables: Tables, name: str, epoch: int | None) -> str:
    measured = at_epoch(tables.gradient_by_lag, epoch)["epoch"].unique()
    return f"{name}: inside the cell" + (f" (panels of one moment: after epoch {measured[0]})" if len(measured) else "")


def _heat(table: pd.DataFrame) -> pd.DataFrame:
    """D1 of the lowest layer, whose error travels furthest: epochs down, lags across."""
    lowest = table[table["layer"] == table["layer"].min()]
    if lowest.empty:  # measuring was turned off
        return pd.DataFrame()
    heat: pd.DataFrame = lowest.pivot_table(index="epoch", columns="lag", values="h")
    return heat


def _memory_gradients(rows: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """D1 of each layer by what carries its memory."""
    return _by_layer(rows, "c" if carrier(rows.loc[rows["lag"] == 0, "c"]) == "C" else "h")


def _saturation(rows: pd.DataFrame) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    named = rows.assign(line=_line_names(rows, "gate"))
    return {
        str(line): (own["shut"].to_numpy(dtype="float64"), own["open"].to_numpy(dtype="float64"))
        for line, own in named.groupby("line", sort=False)
    }


def _by_layer(rows: pd.DataFrame, column: str) -> dict[str, NDArray[np.float64]]:
    return {
        f"layer {layer}": own.sort_values("lag")[column].to_numpy(dtype="float64")
        for layer, own in rows.groupby("layer")
    }


def _through_training(table: pd.DataFrame, names: str, values: str) -> Lines:
    """One line per name over the epochs."""
    if table.empty:
        return Lines([], {})
    wide = table.pivot_table(index="epoch", columns=names, values=values, sort=False).sort_index()
    return Lines(wide.index.to_list(), {str(column): wide[column].to_list() for column in wide})


def _line_names(table: pd.DataFrame, column: str) -> pd.Series[str]:
    if len(set(table["layer"])) <= 1:
        return table[column].astype(str)
    return "layer " + table["layer"].astype(str) + " " + table[column].astype(str)
