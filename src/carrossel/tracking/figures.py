"""A run's figures, from the tables of its model folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from matplotlib.figure import Figure

from carrossel.diagnostics import figures as diagnostics

if TYPE_CHECKING:
    import pandas as pd


_AXIS = {"price": "price", "log_variance": "log variance of the bar", "probability": "probability of up"}


class Tables(NamedTuple):
    """The files of a model folder that figures are drawn from; their columns are in docs/architecture.md."""

    forecasts: pd.DataFrame
    gradient_by_lag: pd.DataFrame
    tensors: pd.DataFrame
    spectrum: pd.DataFrame


def draw_baseline(forecasts: pd.DataFrame, name: str, unit: str) -> dict[str, Figure]:
    """The figures of a baseline's run: it has no gradients."""
    return {"forecast": draw_forecast(forecasts, name, unit)}


def draw_run(tables: Tables, name: str, unit: str) -> dict[str, Figure]:
    """All figures of a network's run under their names.

    Args:
        tables: of one model folder.
        name: dataset and competitor, for the headings.
        unit: of the forecasts.
    """
    figures = {"forecast": draw_forecast(tables.forecasts, name, unit)}
    states: tuple[Literal["h", "C"], ...] = ("h", "C")
    for state in states:
        figures |= _draw_lags(tables.gradient_by_lag.rename(columns={"c": "C"}), state, name)
    figures["gradient_heatmap"] = _draw_heatmap(tables.gradient_by_lag, name)
    norms, ratios = (
        tables.tensors.pivot_table(index="epoch", columns="tensor", values=values, sort=False)
        for values in ("gradient_norm", "update_ratio")
    )
    figures["tensors"] = diagnostics.tensor_norms(
        norms.index.to_list(), _columns(norms), _columns(ratios), f"{name}: gradients and updates of each tensor"
    )
    spectrum = tables.spectrum.assign(line=_line_names(tables.spectrum, "gate"))
    radius = spectrum.pivot_table(index="epoch", columns="line", values="spectral_radius", sort=False)
    figures["spectral_radius"] = diagnostics.spectral_radius(
        radius.index.to_list(), _columns(radius), f"{name}: spectral radius of the recurrent weights"
    )
    return figures


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


def _draw_lags(table: pd.DataFrame, of: Literal["h", "C"], name: str) -> dict[str, Figure]:
    table = table.dropna(subset=[of])
    if table.empty:  # a cell without C
        return {}
    last = table[table["epoch"] == table["epoch"].max()]
    curves = {
        f"layer {layer}": rows.sort_values("lag")[of].to_numpy(dtype="float64") for layer, rows in last.groupby("layer")
    }
    heading = f"{name}: how far back the gradient reaches, after training"
    return {f"gradient_by_lag_{of}": diagnostics.gradient_by_lag(curves, heading, of)}


def _draw_heatmap(table: pd.DataFrame, name: str) -> Figure:
    top = table[table["layer"] == table["layer"].max()].pivot_table(index="epoch", columns="lag", values="h")
    heading = f"{name}: gradient by lag through training"
    return diagnostics.gradient_heatmap(top.to_numpy(dtype="float64"), top.index.to_list(), heading)


def _columns(table: pd.DataFrame) -> dict[str, list[float]]:
    return {str(column): table[column].to_list() for column in table}


def _line_names(table: pd.DataFrame, column: str) -> pd.Series[str]:
    if len(set(table["layer"])) == 1:
        return table[column].astype(str)
    return "layer " + table["layer"].astype(str) + " " + table[column].astype(str)
