"""Six panels that say how a training went inside the cell: what travels back, what gates do, how weights move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from carrossel.diagnostics.figures import (
    drawable,
    label_lags,
    line_styles,
    name_gradient,
    paint_heatmap,
    paint_radius,
    plot_by_lag,
    relative,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

SATURATION = {"shut (< 0.1)": "#0072B2", "between": "#D9D9D9", "open (> 0.9)": "#E69F00"}
"""Colours of a gate's bar, from the left: Okabe & Ito's blue and orange, grey between them."""
_TYPICAL_UPDATE = 1e-3
_MOST_NAMES = 12
_BELOW: dict[str, Any] = {
    "loc": "upper center", "bbox_to_anchor": (0.5, -0.15), "ncols": 3, "frameon": False, "fontsize": 8,
    "handlelength": 1.5, "handletextpad": 0.5, "columnspacing": 1.0,
}  # fmt: skip


class Lines(NamedTuple):
    """Lines through training: their epochs, and their values under their names."""

    epochs: Sequence[int]
    values: Mapping[str, ArrayLike]


class Inside(NamedTuple):
    """What the panels show; what is None or empty wasn't measured.

    Attributes:
        epochs: of the rows of `g`.
        g: D1 of h through training, [epochs, lags].
        gradients: D1 by lag of the kept weights under each layer's name, by what carries its memory.
        kept: D8 by lag likewise, under the same names.
        sensitivity: D2 by lag likewise.
        saturation: D6 likewise: by gate, each unit's fraction of steps shut and open; empty for a cell without gates.
        radius: D5's spectral radius by gate.
        updates: D7's ‖Δθ‖ / ‖θ‖ by tensor.
    """

    epochs: Sequence[int]
    g: ArrayLike
    gradients: Mapping[str, ArrayLike]
    kept: Mapping[str, ArrayLike]
    sensitivity: ArrayLike | None
    saturation: Mapping[str, tuple[ArrayLike, ArrayLike]] | None
    radius: Lines
    updates: Lines


def draw_dashboard(inside: Inside, title: str) -> Figure:
    """One page of a run: D1 through training, D1 and D8 of the kept weights, D2; D5 through training, D6, D7.

    Args:
        inside: the numbers.
        title: heading: dataset, competitor, and which epoch's weights were kept.
    """
    figure = Figure(figsize=(15.5, 8.6), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    figure.suptitle(title, fontsize=14)
    (heat, lags, window), (weights, gates, updates) = figure.subplots(2, 3)
    _draw_heat(figure, heat, inside)
    _draw_lags(lags, inside)
    _draw_window(window, inside)
    _draw_radius(weights, inside)
    _draw_gates(gates, inside)
    _draw_updates(updates, inside)
    return figure


def _draw_heat(figure: Figure, axes: Axes, inside: Inside) -> None:
    _head(axes, "D1: how far back error reaches, through training")
    if np.size(inside.g) == 0:
        _say(axes, "not measured")
        return
    figure.colorbar(paint_heatmap(axes, inside.g, inside.epochs), ax=axes, label=f"{name_gradient('h')}  (log)")
    axes.set_ylabel("lag k: bars back")


def _draw_lags(axes: Axes, inside: Inside) -> None:
    _head(axes, "D1 and D8: what is left k bars back")
    if not inside.gradients:
        _say(axes, "not measured")
        return
    axes.set_yscale("log")
    styles = line_styles(len(inside.gradients))
    for (name, values), style in zip(inside.gradients.items(), styles, strict=True):
        share = relative(values)
        axes.plot(np.arange(len(share)), share, **{**style, "linestyle": "solid"}, label=f"{name}: gradient")
        if name in inside.kept:
            kept = drawable(inside.kept[name])[: len(share)]
            axes.plot(np.arange(len(kept)), kept, **{**style, "linestyle": "dashed"}, label=f"{name}: gates alone")
    label_lags(axes, inside.gradients)
    axes.set(xlabel="lag k: bars back", ylabel="share of lag 0  (log)")
    _name_lines(axes)


def _draw_window(axes: Axes, inside: Inside) -> None:
    _head(axes, "D2: which bars the forecast listens to")
    if inside.sensitivity is None or np.size(inside.sensitivity) == 0:
        _say(axes, "not measured")
        return
    plot_by_lag(axes, {"": drawable(inside.sensitivity)})
    axes.set(xlabel="lag k: bars back", ylabel=r"mean $\|\partial \hat{y} / \partial x_{T-k}\|$  (log)")


def _draw_radius(axes: Axes, inside: Inside) -> None:
    _head(axes, "D5: recurrent weights, through training")
    if not inside.radius.values:
        _say(axes, "none: gates don't see h" if np.size(inside.g) else "not measured")
        return
    paint_radius(axes, inside.radius.epochs, inside.radius.values)
    axes.set_ylabel("spectral radius of $W_{hh}$")
    _name_lines(axes)


def _draw_gates(axes: Axes, inside: Inside) -> None:
    _head(axes, "D6: how often gates are shut or open")
    if not inside.saturation:
        measured = inside.saturation is not None and np.size(inside.g) > 0
        _say(axes, "this cell has no gates" if measured else "not measured")
        return
    names = list(inside.saturation)
    shut, opened = (
        np.array([float(np.mean(np.asarray(inside.saturation[name][side], dtype=np.float64))) for name in names])
        for side in (0, 1)
    )
    paint_saturation(axes, shut, opened)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.legend(handles=explain_saturation(), **_BELOW)
    axes.set(xlabel="share of (bar, window, unit)", ylabel="gate")


def _draw_updates(axes: Axes, inside: Inside) -> None:
    _head(axes, "D7: size of an update, through training")
    epochs, values = inside.updates
    for (name, line), style in zip(values.items(), line_styles(len(values)), strict=True):
        axes.plot(epochs, drawable(line), label=name, marker="o", markersize=3, **style)
    axes.set_yscale("log")
    axes.axhline(_TYPICAL_UPDATE, color="0.35", linewidth=1)
    axes.annotate(
        "rule of thumb", (1, _TYPICAL_UPDATE), xycoords=("axes fraction", "data"), xytext=(-4, 3),
        textcoords="offset points", ha="right", va="bottom", fontsize=8, color="0.35",
    )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="‖Δθ‖ / ‖θ‖  (log)")
    _name_lines(axes)


def paint_saturation(axes: Axes, shut: ArrayLike, opened: ArrayLike) -> None:
    """A bar per row from 0 to 100 %: shut, between, open; rows that are NaN stay empty.

    Args:
        axes: rows lie at heights 0, 1, …
        shut: fraction of each row below 0.1.
        opened: fraction above 0.9.
    """
    low, high = np.asarray(shut, dtype=np.float64), np.asarray(opened, dtype=np.float64)
    between = 1 - low - high
    start = np.zeros(len(low))
    for width, color in zip((low, between, high), SATURATION.values(), strict=True):
        known = np.isfinite(width)
        axes.barh(np.flatnonzero(known), width[known], 0.72, left=start[known], color=color)
        start = start + width
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.grid(visible=False)


def explain_saturation() -> list[Patch]:
    """Handles of a legend for `paint_saturation`."""
    return [Patch(color=color, label=name) for name, color in SATURATION.items()]


def _head(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.35")
    axes.set(xticks=[], yticks=[])


def _name_lines(axes: Axes) -> None:
    """A legend, unless there are too many lines for one: the figure of that quantity alone has it."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) <= _MOST_NAMES:
        axes.legend(handles, labels, **_BELOW)
