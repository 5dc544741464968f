"""Figures of the page. Each has a row or a panel per cell, so that twenty cells are as readable as three."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from carrossel.diagnostics.curves import REACH
from carrossel.diagnostics.dashboard.figures import SATURATION, paint_saturation
from carrossel.diagnostics.figures import drawable
from carrossel.evaluation.comparison.figures import VERDICT_COLORS, label_skill
from carrossel.evaluation.figures import BLACK, BLUE, GREY, ORANGE, VERMILLION, look, new_figure
from carrossel.lab.page.reading import Gate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from carrossel.lab.page.comparing import Row
    from carrossel.lab.page.reading import Network

_DEEPEST = 1e-6
_COLUMNS = 5  # panels beside one another
_MANY = 200  # times the axis' start: beyond, numbers at 1, 2 and 5 would touch
_NO_GATE = Gate(math.nan, math.nan)


@look()
def draw_error(networks: Sequence[Network], dataset: str) -> Figure:
    """D1 of every network: a row each, lag across, what is left of the error at lag 0 as colour."""
    figure = _draw_rows(
        {network.name: network.shares for network in networks},
        f"{dataset}: how much error still arrives, k bars back",
        "share of the gradient at lag 0  (log scale)",
    )
    axes = figure.axes[0]
    ends = [network.fading.memory - 0.5 for network in networks]
    axes.vlines(
        ends, np.arange(len(ends)) - 0.42, np.arange(len(ends)) + 0.42, color="white", linewidth=3.2, clip_on=False
    )
    axes.vlines(
        ends, np.arange(len(ends)) - 0.42, np.arange(len(ends)) + 0.42, color=VERMILLION, linewidth=1.8, clip_on=False
    )
    mark = Line2D([], [], color=VERMILLION, linewidth=2)
    _explain(figure, [mark], [f"memory ends: less than {REACH:g} beyond; at the edge: not within the window"])
    return figure


@look()
def draw_sensitivity(networks: Sequence[Network], dataset: str) -> Figure | None:
    """D2 likewise: what the forecast listens to; None where it wasn't measured."""
    measured = {network.name: network.sensitivity for network in networks if network.sensitivity is not None}
    if not measured:
        return None
    shares = {name: values / (values.max() or 1.0) for name, values in measured.items()}
    return _draw_rows(
        shares,
        f"{dataset}: which bars of the window the forecast listens to",
        "share of the strongest bar  (log scale)",
    )


@look()
def draw_kept(networks: Sequence[Network], dataset: str) -> Figure | None:
    """D8 over D1, a panel per network with gates that keep something; None where it wasn't measured."""
    keeping = [(network, network.kept) for network in networks if network.kept is not None]
    if not keeping:
        return None
    columns = min(_COLUMNS, len(keeping))
    rows = math.ceil(len(keeping) / columns)
    figure = new_figure(2.5 * columns + 0.9, 2.1 * rows + 1.0)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(keeping) :]:
        axes.remove()
    for axes, (network, kept) in zip(panels.flat, keeping, strict=False):
        axes.set_yscale("log")
        axes.plot(drawable(network.shares), color=BLUE, linewidth=2)
        axes.plot(drawable(kept[: len(network.shares)]), color=ORANGE, linewidth=2, linestyle="dashed")
        axes.axhline(REACH, color=GREY, linewidth=0.8)
        axes.set_title(network.name, fontsize=10)
        axes.set_ylim(_DEEPEST, 3)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in panels.flat[max(0, len(keeping) - columns) : len(keeping)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("lag k: bars back", fontsize=9)
    figure.suptitle(f"{dataset}: the error that arrives, and what the gates alone let through", fontsize=11)
    figure.supylabel("share of lag 0  (log scale)", fontsize=10)
    handles = [
        Line2D([], [], color=BLUE, linewidth=2),
        Line2D([], [], color=ORANGE, linewidth=2, linestyle="dashed"),
        Line2D([], [], color=GREY, linewidth=0.8),
    ]
    names = ["error, by the memory C or by h", "gates alone: product of kept shares", f"{REACH:g}: memory ends"]
    _explain(figure, handles, names)
    return figure


@look()
def draw_saturation(networks: Sequence[Network], dataset: str) -> Figure | None:
    """D6: a panel per gate, a bar per network: how much of the time it is shut, in between, open; None if not measured."""
    measured = [(network.name, network.gates) for network in networks if network.gates]
    if not measured:
        return None
    gates = list(dict.fromkeys(gate for _, own in measured for gate in own))
    width = max(1.5, 9.0 / max(len(gates), 4))
    figure = new_figure(width * len(gates) + 1.8, 0.27 * len(measured) + 1.6)
    panels = figure.subplots(1, len(gates), squeeze=False, sharex=True, sharey=True)[0]
    for axes, gate in zip(panels, gates, strict=True):
        found = [own.get(gate, _NO_GATE) for _, own in measured]
        paint_saturation(axes, [one.shut for one in found], [one.opened for one in found])
        axes.set_title(f"{gate.replace('_', ' ')} gate", fontsize=10)
        axes.set_yticks(range(len(measured)), [name for name, _ in measured])
        axes.set_ylim(len(measured) - 0.5, -0.5)
        axes.set_xticks([0, 0.5, 1])
    panels[len(gates) // 2].set_xlabel("share of steps, sequences and units")
    figure.suptitle(f"{dataset}: what gates do most of the time", fontsize=11)
    _explain(figure, [Patch(color=color) for color in SATURATION.values()], list(SATURATION))
    return figure


@look()
def draw_memory_and_skill(rows: Sequence[Row], dataset: str) -> Figure:
    """Memory on the data, exams passed and skill side by side, a row per network: longest memory at the top."""
    figure = new_figure(11.0, 0.29 * len(rows) + 1.7)
    memory, exams, skill = figure.subplots(1, 3, sharey=True, width_ratios=(1.2, 0.8, 1.4))
    places = range(len(rows))
    known = [row.half_life for row in rows if row.half_life is not None]
    start, edge = 0.6 * min(known, default=1.0), 2 * max(known, default=1.0)
    for place, row in enumerate(rows):
        if row.per_bar is not None:
            memory.hlines(place, start, row.half_life or edge, color=BLUE, linewidth=1.2)
            memory.plot(row.half_life or edge, place, "o" if row.half_life else ">", color=BLUE, markersize=7)
    memory.set_xscale("log")
    memory.set_xlim(start, 1.3 * edge)
    memory.set_title("half-life of the error")
    memory.set_xlabel("bars  (log scale; ▸ doesn't fade)")
    memory.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if edge < _MANY * start else (1,)))
    memory.xaxis.set_major_formatter(ScalarFormatter())
    memory.xaxis.set_minor_formatter(NullFormatter())
    taken = max((row.taken for row in rows), default=0)
    exams.barh(places, [row.passed for row in rows], color=GREY, height=0.6)
    for place, row in enumerate(rows):
        text = f"{row.passed} of {row.taken}" if row.taken else "not examined"
        exams.text(row.passed + 0.02 * max(taken, 1), place, text, va="center", fontsize=8)
    exams.set_xlim(0, 1.6 * max(taken, 1))  # room for the words
    exams.set_xticks(range(0, taken + 1, max(1, taken // 4)))
    exams.set_title("exams passed by its cell")
    exams.set_xlabel("exams")
    skill.axvline(0, color=BLACK, linewidth=1.2)
    for place, row in enumerate(rows):
        if row.validation is not None:
            skill.plot(row.validation, place, "o", color="white", markeredgecolor=BLACK, markersize=5)
        if row.test is not None:
            skill.plot(row.test, place, "D", color=VERDICT_COLORS.get(row.verdict, GREY), markersize=7)
    skill.set_title(f"skill on {dataset}")
    skill.set_xlabel("← worse than 'tomorrow = today'     better →")
    skill.xaxis.set_major_locator(MaxNLocator(5))
    skill.xaxis.set_major_formatter(FuncFormatter(label_skill))
    memory.set_yticks(places, [row.name for row in rows])
    memory.set_ylim(len(rows) - 0.4, -0.6)
    for axes in (memory, exams, skill):
        axes.grid(visible=False, axis="y")
    figure.legend(handles=_explain_skill(rows), loc="outside lower right", ncols=4, fontsize=9)
    return figure


def _explain(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=9)


def _explain_skill(rows: Sequence[Row]) -> list[Line2D]:
    seen = {row.verdict for row in rows}
    return [
        Line2D([], [], linestyle="none", marker="o", color="white", markeredgecolor=BLACK, label="validation"),
        *[
            Line2D(
                [], [], linestyle="none", marker="D", color=color, label=f"test: {verdict.split(':', maxsplit=1)[0]}"
            )
            for verdict, color in VERDICT_COLORS.items()
            if verdict in seen
        ],
    ]


def _draw_rows(shares: Mapping[str, NDArray[np.float64]], title: str, meaning: str) -> Figure:
    lags = max(len(values) for values in shares.values())
    grid = np.full((len(shares), lags), np.nan)
    for row, values in zip(grid, shares.values(), strict=True):
        row[: len(values)] = drawable(values)
    figure = new_figure(9.5, 0.27 * len(shares) + 1.9)
    axes = figure.subplots()
    axes.set_facecolor("0.85")
    image = axes.imshow(
        np.ma.masked_invalid(grid), aspect="auto", interpolation="nearest", cmap="viridis", norm=LogNorm(_DEEPEST, 1)
    )
    axes.set_yticks(range(len(shares)), list(shares))
    axes.set_xlabel("lag k: bars back from the end of the window")
    axes.set_title(title)
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    figure.colorbar(image, ax=axes, label=meaning, extend="both", pad=0.02)
    return figure
