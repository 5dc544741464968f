"""Figures of the cell lab, made for two networks as for twenty-four."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from carrossel.diagnostics.curves import REACH
from carrossel.diagnostics.dashboard.figures import explain_saturation, paint_saturation
from carrossel.diagnostics.figures import FLOOR, relative
from carrossel.evaluation.comparison.lab.sentences import bars
from carrossel.evaluation.comparison.lab.tables import order_by_memory
from carrossel.evaluation.figures import BLUE, GREY, VERMILLION, look, new_figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from carrossel.evaluation.comparison.lab.memories import Memory

_COLUMNS = 4
_LOWEST = 1e-6
"""Shares below are beyond the memory's end by far."""


def draw_lab(memories: Mapping[str, Memory], dataset: str) -> dict[str, Figure]:
    """All figures of a dataset by name: `memory`, `listening` and `gates`; those of what wasn't measured are left out."""
    figures = {}
    if any(len(memory.gradient) for memory in memories.values()):
        figures["memory"] = draw_memory(memories, dataset)
    if any(len(memory.sensitivity) for memory in memories.values()):
        figures["listening"] = draw_listening(memories, dataset)
    if any(memory.gates for memory in memories.values()):
        figures["gates"] = draw_gates(memories, dataset)
    return figures


@look()
def draw_memory(memories: Mapping[str, Memory], dataset: str) -> Figure:
    """D1 and D8 over it: a panel per network, longest memory first, with all others' gradients in grey behind."""
    names = [name for name in order_by_memory(memories) if len(memories[name].gradient)]
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(2.75 * columns + 0.6, 1.95 * rows + 1.0)
    figure.suptitle(
        f"{dataset}: what is left of the gradient, and of the memory, k bars back", x=0.01, ha="left", fontsize=12
    )
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    shares = {name: relative(memories[name].gradient) for name in names}
    for axes, name in zip_longest(panels.flat, names):
        if name is None:
            axes.remove()
            continue
        for other, share in shares.items():
            if other != name:
                axes.plot(share, color="#CFCFCF", linewidth=0.8, zorder=1)
        kept = memories[name].kept[: len(shares[name])]
        axes.plot(shares[name], color=BLUE, linewidth=2.0, zorder=3)
        axes.plot(np.where(kept > FLOOR, kept, np.nan), color=VERMILLION, linewidth=1.6, linestyle="--", zorder=4)
        axes.axhline(REACH, color=GREY, linewidth=0.8, zorder=2)
        half = memories[name].gradient_half
        axes.set_title(
            f"{name}\nhalved after {bars(half)}" if half is not None else f"{name}\nnever halved", fontsize=10
        )
        axes.set_yscale("log")
    lowest = min((float(np.nanmin(share)) for share in shares.values() if np.isfinite(share).any()), default=REACH)
    highest = max((float(np.nanmax(share)) for share in shares.values() if np.isfinite(share).any()), default=1.0)
    panels[0, 0].set_ylim(min(max(lowest, _LOWEST), REACH) / 2, 2 * max(highest, 1.0))
    panels[0, 0].set_xlim(0, max(len(share) for share in shares.values()) - 1 or 1)
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for column in range(columns):  # the lowest panel of a column that is shorter than the first
        last = max(row for row in range(rows) if row * columns + column < len(names))
        panels[last, column].tick_params(labelbottom=True)
        panels[last, column].set_xlabel("lag k: bars back")
    figure.supylabel("share of lag 0 (log scale)", fontsize=10)
    figure.legend(
        handles=[
            Line2D([], [], color=BLUE, linewidth=2.0, label="gradient that reaches back (D1)"),
            Line2D(
                [], [], color=VERMILLION, linewidth=1.6, linestyle="--", label="what the gates alone let through (D8)"
            ),
            Line2D([], [], color="#CFCFCF", label="the other networks' gradients"),
            Line2D([], [], color=GREY, linewidth=0.8, label="0.1 %: end of the memory"),
        ],
        loc="outside lower center",
        ncols=2 if columns < _COLUMNS else 4,
        fontsize=9,
    )
    return figure


@look()
def draw_listening(memories: Mapping[str, Memory], dataset: str) -> Figure:
    """D2: a row per network, longest memory first, how much its forecast depends on each bar, as a share of the largest."""
    names = [name for name in order_by_memory(memories) if len(memories[name].sensitivity)]
    lags = max(len(memories[name].sensitivity) for name in names)
    shares = np.full((len(names), lags), np.nan)
    for row, name in enumerate(names):
        curve = memories[name].sensitivity
        shares[row, : len(curve)] = curve / (curve.max() or 1.0)
    figure = new_figure(10.0, 1.5 + 0.27 * len(names))
    axes = figure.subplots()
    axes.set_facecolor("#D9D9D9")
    visible = np.ma.masked_where(~(shares > FLOOR), shares)
    image = axes.imshow(
        visible, aspect="auto", interpolation="nearest", cmap="viridis", norm=LogNorm(REACH, 1),
        extent=(-0.5, lags - 0.5, len(names) - 0.5, -0.5),
    )  # fmt: skip
    for row, name in enumerate(names):
        listens = memories[name].listens
        if listens:
            axes.plot([listens - 0.5] * 2, [row - 0.5, row + 0.5], color="white", linewidth=3.5)
            axes.plot([listens - 0.5] * 2, [row - 0.5, row + 0.5], color=VERMILLION, linewidth=2)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-0.5, lags - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.grid(visible=False)
    axes.set_title(f"{dataset}: how much the forecast depends on each bar; 90 % of it lies left of the red mark")
    axes.set_xlabel("lag k: bars back from the end of the window")
    figure.colorbar(image, ax=axes, label="share of the largest (log)", extend="min")
    return figure


@look()
def draw_gates(memories: Mapping[str, Memory], dataset: str) -> Figure:
    """D6: a column per gate, a row per network: how often the gate is shut, open, or in between."""
    names = [name for name in order_by_memory(memories) if memories[name].gates]
    gates = list(dict.fromkeys(gate for name in names for gate in memories[name].gates or {}))
    figure = new_figure(1.6 + 2.0 * max(len(gates), 2), 1.6 + 0.27 * len(names))
    figure.suptitle(f"{dataset}: how often gates are shut or open", x=0.01, ha="left", fontsize=12)
    panels = figure.subplots(1, len(gates), sharey=True, squeeze=False)[0]
    for axes, gate in zip(panels, gates, strict=True):
        shares = [(memories[name].gates or {}).get(gate, (np.nan, np.nan)) for name in names]
        _draw_gate(axes, [shut for shut, _ in shares], [opened for _, opened in shares], gate)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    figure.legend(handles=explain_saturation(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


def _draw_gate(axes: Axes, shut: list[float], opened: list[float], gate: str) -> None:
    paint_saturation(axes, shut, opened)
    axes.set_title(gate, fontsize=10)
    axes.set_xticks([0, 0.5, 1])
    axes.tick_params(axis="x", labelsize=8)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
