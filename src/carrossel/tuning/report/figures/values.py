"""What the values that trials drew have to do with their skill."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.ticker import FuncFormatter, MaxNLocator

from carrossel.evaluation.comparison.figures import label_skill
from carrossel.evaluation.figures import BLACK, BLUE, GREY, ORANGE, VERMILLION, look, new_figure
from carrossel.tuning.report.figures.panels import NO_COMPLETE, SKILL, explain, fade, limit_skill, mark_below
from carrossel.tuning.report.figures.scales import allows, column_ticks, ends, label_axis, locate, relative, spread
from carrossel.tuning.variance import FEWEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from carrossel.tuning.report.findings import Findings
    from carrossel.tuning.variance import Explained

_COLUMNS = 4  # panels beside one another
_CONTOUR_KEYS = 3
_NO_KEY = "no key was drawn"
_UNDRAWN = -0.12  # height in parallel coordinates of what a trial didn't draw


@look()
def draw_importance(found: Findings) -> Figure | str:
    """PED-ANOVA and fANOVA side by side, a row per key."""
    if len(found.complete) < FEWEST:
        return f"{len(found.complete)} trials are complete; shares of fewer than {FEWEST} say nothing"
    table = found.importance
    if table[["ped_anova", "fanova"]].fillna(0).to_numpy().max(initial=0) <= 0:
        return "no key made any difference: each has one value, or all trials have one skill"
    figure = new_figure(9.5, 0.34 * len(table) + 1.5)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, name, title, color in (
        (panels[0], "fanova", "fANOVA: share of the variance of skill", BLUE),
        (panels[1], "ped_anova", "PED-ANOVA: share in what sets the best apart", ORANGE),
    ):
        shares = table[name].to_numpy(dtype=np.float64)
        axes.barh(range(len(table)), np.nan_to_num(shares), color=color, height=0.62)
        for place, share in enumerate(shares):
            text = f"{100 * share:.0f} %" if np.isfinite(share) else "not drawn by every trial"
            axes.text(np.nan_to_num(share) + 0.015, place, text, va="center", fontsize=8.5)
        axes.set_xlim(0, 1.15)
        axes.set_xticks(np.linspace(0, 1, 5), [f"{tick} %" for tick in (0, 25, 50, 75, 100)])
        axes.set_title(title)
        axes.grid(visible=False, axis="y")
    panels[0].set_yticks(range(len(table)), table["key"])
    panels[0].set_ylim(len(table) - 0.4, -0.6)
    return figure


@look()
def draw_slice(found: Findings) -> Figure | str:
    """Skill over the values of each key, a panel per key."""
    if not found.complete:
        return NO_COMPLETE
    if not found.distributions:
        return _NO_KEY
    keys = list(found.importance["key"])
    columns = min(_COLUMNS, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure = new_figure(max(3.1 * columns, 5) + 0.6, 2.7 * rows + 0.8)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    low = limit_skill(panels[0], [trial.values[0] for trial in found.complete])
    for axes, key in zip(panels, keys, strict=False):
        space = found.distributions[key]
        drawn = [trial for trial in found.complete if key in trial.params]
        places = spread(locate(space, [trial.params[key] for trial in drawn]), space)
        skills = np.asarray([trial.values[0] for trial in drawn])
        above = skills >= low
        axes.plot(places[above], skills[above], "o", color=BLUE, markersize=4, alpha=0.75, label="complete trial")
        mark_below(axes, places[~above])
        if key in found.default and not space.single() and allows(space, found.default[key]):
            default = locate(space, [found.default[key]])[0]
            axes.axvline(default, color=GREY, linestyle="dashed", linewidth=1.3, label="default", zorder=1)
        if found.best and key in found.best.params:
            place = places[drawn.index(found.best)]
            axes.plot(
                place, found.best.values[0], "*", color=VERMILLION, markersize=12, label="best", markeredgecolor="white"
            )
        label_axis(axes, space)
        axes.set_title(key, fontsize=10)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    for axes in panels[::columns]:
        axes.set_ylabel(SKILL)
    explain(figure, panels)
    return figure


@look()
def draw_contour(found: Findings) -> Figure | str:
    """Skill as the forest behind fANOVA foresees it over pairs of the keys that matter most, the mean over all others."""
    if found.explained is None:
        return f"it takes {FEWEST} complete trials of different skill to draw one"
    keys = [share.keys[0] for share in found.explained.singles][:_CONTOUR_KEYS]
    if len(keys) < 2:  # noqa: PLR2004 - a plane
        return "it takes two keys that every trial draws"
    pairs = list(combinations(keys, 2))
    figure = new_figure(4.3 * len(pairs) + 0.9, 4.3)
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    grids = [_foresee(found.explained, *pair) for pair in pairs]
    low, high = min(grid.min() for grid in grids), max(grid.max() for grid in grids)
    image = None
    for axes, (across, up), grid in zip(panels, pairs, grids, strict=True):
        edges = [_edges(found, key, grid.shape[n]) for n, key in enumerate((across, up))]
        image = axes.pcolormesh(*edges, grid.T, cmap="viridis", vmin=low, vmax=high, rasterized=True)
        spaces = [found.distributions[key] for key in (across, up)]
        columns = [
            spread(locate(space, [trial.params[key] for trial in found.complete]), space)
            for key, space in zip((across, up), spaces, strict=True)
        ]
        axes.plot(
            *columns,
            "o",
            color="white",
            markeredgecolor=BLACK,
            markersize=4,
            markeredgewidth=0.7,
            label="complete trial",
        )
        if found.best:
            n = found.complete.index(found.best)
            style = {"color": VERMILLION, "markeredgecolor": "white", "markersize": 14}
            axes.plot(columns[0][n], columns[1][n], "*", label="best", **style)
        label_axis(axes, spaces[0])
        label_axis(axes, spaces[1], up=True)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(visible=False)
    assert image is not None  # noqa: S101 - there is a pair
    figure.colorbar(image, ax=panels, label=f"{SKILL} foreseen", format=FuncFormatter(label_skill), pad=0.02)
    explain(figure, panels)
    return figure


@look()
def draw_parallel_coordinates(found: Findings) -> Figure | str:
    """A line per complete trial through the values it drew to its skill; the best on top."""
    if not found.complete:
        return NO_COMPLETE
    if not found.distributions:
        return _NO_KEY
    keys = list(found.distributions)
    figure = new_figure(max(1.45 * (len(keys) + 1), 6) + 1.2, 4.9)
    axes = figure.subplots()
    skills = np.asarray([trial.values[0] for trial in found.complete])
    columns = [
        relative(found.distributions[key], [trial.params.get(key) for trial in found.complete], _UNDRAWN)
        for key in keys
    ]
    shown = found.skills
    span = np.ptp(shown) or 1.0
    heights = np.column_stack([*columns, (shown - shown.min()) / span if np.ptp(shown) else np.full(len(shown), 0.5)])
    order = np.argsort(skills, kind="stable")
    ranks = np.empty(len(skills))
    ranks[order] = np.linspace(0, 1, len(skills)) if len(skills) > 1 else 1.0
    across = np.arange(len(keys) + 1)
    lines = LineCollection(
        [np.column_stack([across, heights[n]]) for n in order],
        cmap="viridis_r", linewidths=[3.0 if n == order[-1] else 1.0 for n in order], alpha=fade(len(order)),
    )  # fmt: skip
    lines.set_array(ranks[order])
    lines.set_clim(0, 1)
    axes.add_collection(lines)
    for place, key in enumerate(keys):
        _mark_column(axes, place, column_ticks(found.distributions[key]))
    ticks = MaxNLocator(4).tick_values(shown.min(), shown.min() + span) if np.ptp(shown) else []
    inside = [(float((t - shown.min()) / span), label_skill(t, 0)) for t in ticks if 0 <= (t - shown.min()) / span <= 1]
    _mark_column(axes, len(keys), inside or [(0.5, label_skill(float(shown[0]), 0))])
    if (heights == _UNDRAWN).any():
        axes.text(-0.1, _UNDRAWN, "not drawn", ha="right", va="center", fontsize=8, color="0.35")
    axes.set_xlim(-0.15, len(keys) + 0.55)
    axes.set_ylim(_UNDRAWN - 0.04, 1.06)
    names = [key.replace(".", ".\n", 1) for key in keys]
    axes.set_xticks(across, [*names, "validation\nskill"], fontsize=8.5)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    bar = figure.colorbar(lines, ax=axes, pad=0.02, ticks=[0, 1])
    bar.ax.set_yticklabels(["worst", "best"])
    bar.set_label("rank by skill")
    axes.set_title("Complete trials: what they drew and where it led")
    return figure


def _mark_column(axes: Axes, place: int, ticks: Sequence[tuple[float, str]]) -> None:
    axes.vlines(place, 0, 1, color=BLACK, linewidth=1, zorder=3)
    for height, text in ticks:
        axes.plot([place - 0.02, place + 0.02], [height, height], color=BLACK, linewidth=1, zorder=3)
        axes.text(
            place + 0.05, height, text, va="center", fontsize=7.5, zorder=4, linespacing=0.9,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
        )  # fmt: skip


def _foresee(explained: Explained, across: str, up: str) -> NDArray[np.float64]:
    """Predicted skill over two keys, [points across, points up]."""
    return np.asarray(explained.forest.marginal(across, up).mean(axis=0))


def _edges(found: Findings, key: str, count: int) -> NDArray[np.float64]:
    """Borders of `count` cells along a key's axis."""
    low, high = ends(found.distributions[key])
    return np.linspace(low, high, count + 1)
