"""Pictures of a unit: the price in its colours, its gates, the moves expected next; and who follows what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D

from carrossel.evaluation.figures import BLACK, look, new_figure
from carrossel.lab.units.quantities import QUANTITIES
from carrossel.lab.units.ranking import sign, spread_ranking, summarise_ranking
from carrossel.lab.units.readout import likeliest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from carrossel.lab.units.ranking import Summary
    from carrossel.lab.units.study import Study

    Values = NDArray[np.float64]

# Blue against orange, which colour-blind readers tell apart; grey in the middle, since a white line would not be seen.
SIGNED = LinearSegmentedColormap.from_list("signed", ["#0072B2", "#C4C4C4", "#D55E00"])
_SIGNED_FILL = LinearSegmentedColormap.from_list("signed_fill", ["#56B4E9", "#FFFFFF", "#E69F00"])
_MOST_UNITS = 48  # as many rows as a picture holds legibly
_TICKS = 6
_HOUR = np.timedelta64(1, "h")


@look()
def draw_unit(study: Study, summary: Summary, bars: int) -> Figure:
    """One unit, over the stretch of the test part in which its colour changes most.

    From the top: the close, coloured by the unit's state after that bar; each gate in that bar; the five likeliest next
    moves, and the one that came.

    Args:
        summary: the unit, and which quantity it was chosen for.
        bars: how many windows.
    """
    unit, gates = summary.unit, study.inside.gates
    shown = liveliest(study.signal[:, unit], bars)
    heights = [3.4, *[0.34] * len(gates), 2.9]
    figure = new_figure(11.5, 1.3 + sum(heights))
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=[60, 1])
    price = figure.add_subplot(grid[0, 0])
    strips = [figure.add_subplot(grid[row, 0], sharex=price) for row in range(1, len(gates) + 1)]
    moves = figure.add_subplot(grid[-1, 0], sharex=price)

    line = _draw_price(price, study, unit, shown)
    bar = figure.colorbar(line, cax=figure.add_subplot(grid[0, 1]))
    bar.set_label(f"{study.symbol} of unit {unit}")
    if strips:
        for axes, (name, values) in zip(strips, gates.items(), strict=True):
            image = _draw_strip(axes, name, values[shown, unit])
        bar = figure.colorbar(image, cax=figure.add_subplot(grid[1:-1, 1]), ticks=[0, 1])
        bar.ax.set_yticklabels(["0 shut", "1 open"])
    mesh = _draw_moves(moves, study, shown)
    bar = figure.colorbar(mesh, cax=figure.add_subplot(grid[-1, 1]), format=lambda share, _: f"{100 * share:.0f} %")
    bar.set_label(f"probability (1 in {len(study.moves)}: {100 / len(study.moves):.1f} %)")

    price.set_title(
        f"{study.recipe.dataset}, unit {unit} of {study.recipe.kind}: rank correlation with "
        f"{_spell(summary.quantity)} {sign(summary.correlation)}\n"
        f"(on the shuffled series no unit is beyond ±{summary.control:.2f}). "
        f"The {len(study.rows[shown])} bars of the test part in which its colour changes most:"
    )
    for axes in [price, *strips]:
        axes.tick_params(labelbottom=False)
    _label_dates(moves, study.timestamps[shown])
    return figure


@look()
def draw_ranking(study: Study) -> Figure:
    """Every unit's rank correlation with every quantity, beside the same on the shuffled series."""
    summaries = summarise_ranking(study.ranking)
    tables = [spread_ranking(study.ranking, name) for name in ("correlation", "control")]
    strongest = np.nan_to_num(np.abs(tables[0]), nan=-1.0).max(axis=1)
    units = np.argsort(-strongest, kind="stable")[:_MOST_UNITS]
    figure = new_figure(10.0, 1.9 + 0.24 * len(units))
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("the series as it is", "control: its bars shuffled")
    for axes, table, title in zip(panels, tables, titles, strict=True):
        values = table[units]
        image = axes.imshow(values, cmap=_SIGNED_FILL, vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
        for (row, column), value in np.ndenumerate(values):
            axes.text(column, row, sign(float(value)), ha="center", va="center", fontsize=8)
        axes.set_title(title)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.set_xticks(
            range(len(QUANTITIES)), [_spell(name).replace(" since the ", " since\nthe ") for name in QUANTITIES]
        )
    panels[0].set_yticks(range(len(units)), [str(unit) for unit in units], fontsize=8)
    left_out = len(strongest) - len(units)
    panels[0].set_ylabel("unit" + (f" ({left_out} weaker ones left out)" if left_out else ""))
    bar = figure.colorbar(image, ax=list(panels), label="Spearman's rank correlation", aspect=40, pad=0.02)
    bar.set_ticks([-1, -0.5, 0, 0.5, 1])
    beyond = ", ".join(f"{_spell(each.quantity)} {each.beyond}" for each in summaries)
    figure.suptitle(
        f"{study.recipe.dataset}: what the {len(strongest)} units of {study.recipe.kind} follow on the test part\n"
        f"Units beyond the control's closest follower: {beyond}",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    return figure


def _draw_price(axes: Axes, study: Study, unit: int, shown: slice) -> LineCollection:
    closes, signal, rows = study.closes[shown], study.signal[shown, unit], study.rows[shown]
    points = np.stack([np.arange(len(closes)), closes], axis=1)
    joined = np.diff(rows) == 1  # no line across a gap
    limit = color_limit(study.signal[:, unit])
    line = LineCollection(
        list(np.stack([points[:-1], points[1:]], axis=1)[joined]),
        cmap=SIGNED, norm=Normalize(-limit, limit), linewidth=2.6, capstyle="round",
    )  # fmt: skip
    line.set_array(signal[1:][joined])
    axes.add_collection(line)
    margin = 0.05 * (np.ptp(closes) or 1.0)
    axes.set_ylim(closes.min() - margin, closes.max() + margin)
    axes.set_xlim(-0.5, len(closes) - 0.5)
    axes.set_ylabel("close")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    return line


def _draw_strip(axes: Axes, name: str, values: Values) -> Any:
    image = axes.imshow(
        values[None], cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest",
        extent=(-0.5, len(values) - 0.5, 0, 1),
    )  # fmt: skip
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_ylabel(f"{name.replace('_', ' ')} gate", rotation=0, ha="right", va="center")
    return image


def _draw_moves(axes: Axes, study: Study, shown: slice) -> Any:
    chances, came = study.inside.chances[shown], study.came[shown]
    windows, bins = chances.shape
    cells = np.full_like(chances, np.nan)
    best = likeliest(chances)
    np.put_along_axis(cells, best, np.take_along_axis(chances, best, axis=1), axis=1)
    mesh = axes.pcolormesh(
        np.arange(windows + 1) - 0.5, np.arange(bins + 1) - 0.5, cells.T, cmap="Blues", vmin=0, rasterized=True
    )
    axes.plot(np.arange(windows), came, linestyle="none", marker="o", markersize=2.4, color=BLACK)
    ticks = np.unique(np.linspace(0, bins - 1, min(bins, 7)).round().astype(int))
    axes.set_yticks(ticks, [f"{study.moves[tick]:+.2f} %".replace("-", "−") for tick in ticks])
    axes.grid(visible=False)
    axes.set_ylim(-0.7, bins - 0.3)
    axes.set_ylabel("next bar's move\n(one row per bin)")
    dot = Line2D([], [], linestyle="none", marker="o", markersize=3.5, color=BLACK, label="the move that came")
    axes.legend(
        handles=[dot], loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, fontsize=9, handletextpad=0.1
    )
    axes.set_title(f"the {best.shape[1]} likeliest next moves, as the network sees them at each bar", fontsize=10)
    return mesh


def liveliest(signal: Values, length: int) -> slice:
    """The stretch of `length` in which the signal varies most, the newest of equal ones; all of a shorter signal."""
    if len(signal) <= length:
        return slice(0, len(signal))
    spread = np.lib.stride_tricks.sliding_window_view(signal, length).std(axis=1)
    last = len(spread) - 1 - int(np.argmax(spread[::-1]))
    return slice(last, last + length)


def color_limit(signal: Values) -> float:
    """Where a unit's colours end on both sides: its largest size, rounded up to a tenth, so that the scale is read easily."""
    return max(float(np.ceil(10 * np.abs(signal).max() - 1e-9) / 10), 0.1)


def _label_dates(axes: Axes, stamps: NDArray[np.datetime64]) -> None:
    """Dates by the bars' numbers: nights and weekends of an exchange take no room."""
    places = np.unique(np.linspace(0, len(stamps) - 1, min(_TICKS, len(stamps))).round().astype(int))
    intraday = len(stamps) > 1 and np.diff(stamps).min() < 24 * _HOUR
    labels = [str(stamps[place].astype("datetime64[m]")).replace("T", "\n") for place in places]
    axes.set_xticks(places, labels if intraday else [label.split("\n")[0] for label in labels])
    axes.set_xlabel("last bar of the window, UTC")


def _spell(quantity: str) -> str:
    return quantity.replace("since_maximum", "since the maximum").replace("_", " ")
