"""Table and learning curves of the memory exams, without global matplotlib state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from carrossel.diagnostics.figures import DASHES, MARKERS, PALETTE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

TITLES = {
    "adding": "adding problem",
    "temporal_order": "temporal order",
    "copy_memory": "copy memory",
    "reber": "embedded Reber",
    "mackey_glass": "Mackey-Glass",
}
SCORES = {
    "adding": "mean squared error",
    "temporal_order": "share misjudged",
    "copy_memory": "cross-entropy, nats per step",
    "reber": "share of strings with a wrong step",
    "mackey_glass": "NRMSE, 84 units of time ahead",
}
# ColorBrewer's Blues, the pale half: black figures stay readable on it.
SHADES = LinearSegmentedColormap.from_list("solved", ["#6baed6", "#c6dbef", "#eff3ff"])
FAILED, MISSING = "#f0f0f0", "white"
MOST_MARKERS = 12
REACH = 1.5  # times chance


def draw_exam_table(frame: pd.DataFrame) -> Figure:
    """Candidate × exam × length: after how many training steps it was solved, or how far it got.

    Args:
        frame: rows of reports/lab/exams.csv; several seeds make one field.
    """
    columns = list(dict.fromkeys(zip(frame["exam"], frame["length"], strict=True)))
    rows = list(dict.fromkeys(frame["candidate"]))
    budgets = frame.groupby(["exam", "length"])["iterations"].max()
    figure = Figure(figsize=(2.4 + 1.55 * len(columns), 1.9 + 0.52 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for x, (exam, length) in enumerate(columns):
        for y, candidate in enumerate(rows):
            chosen = frame["candidate"].eq(candidate) & frame["exam"].eq(exam) & frame["length"].eq(length)
            _draw_field(axes, x, y, frame[chosen], int(budgets[exam, length]))
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    axes.set_xticks(np.arange(len(columns)) + 0.5, [_head(frame, *column) for column in columns], fontsize=9)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_title("Memory exams: training steps until solved, and the score reached", pad=14)
    handles = [
        Patch(facecolor=SHADES(0.0), edgecolor="0.4", label="solved early"),
        Patch(facecolor=SHADES(1.0), edgecolor="0.4", label="solved late"),
        Patch(facecolor=FAILED, edgecolor="0.4", hatch="///", label="not solved within its budget"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def draw_exam_curves(frame: pd.DataFrame, table: pd.DataFrame | None = None) -> Figure:
    """Score by training step, one line per candidate, one panel per exam and length; the mean over seeds.

    Args:
        frame: rows of reports/lab/exam_curves.csv, of one exam or several.
        table: rows of reports/lab/exams.csv, for the lines of pass mark and chance; without it there are none.
    """
    panels = list(dict.fromkeys(zip(frame["exam"], frame["length"], strict=True)))
    candidates = list(dict.fromkeys(frame["candidate"]))
    across = min(len(panels), 2)
    down = -(-len(panels) // across) if panels else 1
    figure = Figure(figsize=(5.4 * max(across, 1) + 1.6, 3.6 * down + 0.6), layout="constrained")
    grid = figure.subplots(down, max(across, 1), squeeze=False).flatten()
    for axes, (exam, length) in zip(grid, panels, strict=False):
        part = frame[frame["exam"].eq(exam) & frame["length"].eq(length)]
        for n, candidate in enumerate(candidates):
            _draw_curve(axes, part[part["candidate"].eq(candidate)], candidate, n)
        _draw_marks(axes, table, exam, length)
        axes.set_title(f"{TITLES.get(exam, exam)}, length {length}", fontsize=11)
        axes.set(xlabel="training step", ylabel=SCORES.get(exam, "score"))
        _limit(axes, table, exam, length)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    handles = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles, loc="outside right center", frameon=False, fontsize=9, handlelength=3)
    return figure


def _head(frame: pd.DataFrame, exam: str, length: int) -> str:
    chance = frame.loc[frame["exam"].eq(exam) & frame["length"].eq(length), "chance"].iloc[0]
    return f"{TITLES.get(exam, exam)}\nlength {length}\nchance {chance:.2g}"


def _draw_field(axes: Axes, x: int, y: int, rows: pd.DataFrame, budget: int) -> None:
    solved = rows[rows["solved"].astype(bool)]
    look: dict[str, Any] = {"facecolor": MISSING}
    lines = ["", ""]
    if len(rows):
        score = rows["score"].mean()
        lines[1] = "diverged" if np.isnan(score) else f"score {score:.2g}"
        of = f" ({len(solved)} of {len(rows)})" if len(rows) > 1 else ""
        if len(solved):
            steps = solved["iterations"].median()
            look["facecolor"] = SHADES(min(steps / budget, 1.0))
            lines[0] = f"{steps:,.0f}{of}"
        else:
            look |= {"facecolor": FAILED, "hatch": "///"}
            lines[0] = "not solved"
    axes.add_patch(Rectangle((x, y), 1, 1, edgecolor="white", linewidth=2, **look))
    weight = "bold" if len(solved) else "normal"
    axes.text(x + 0.5, y + 0.36, lines[0], ha="center", va="center", fontsize=10, fontweight=weight)
    axes.text(x + 0.5, y + 0.72, lines[1], ha="center", va="center", fontsize=8, color="0.25")


def _draw_curve(axes: Axes, looks: pd.DataFrame, candidate: str, n: int) -> None:
    by_seed = looks.pivot_table(index="iteration", columns="seed", values="score", aggfunc="first")
    # A seed that has solved it stays where it ended.
    mean = by_seed.ffill().mean(axis=1)
    if not len(mean):
        return
    style: dict[str, Any] = {"color": PALETTE[n % len(PALETTE)], "linestyle": DASHES[n // len(PALETTE) % len(DASHES)]}
    every = max(1, len(mean) // MOST_MARKERS)
    axes.plot(
        mean.index, mean.to_numpy(), label=candidate, linewidth=1.6, marker=MARKERS[n % len(MARKERS)], markersize=4,
        markevery=every, **style,
    )  # fmt: skip


def _limit(axes: Axes, table: pd.DataFrame | None, exam: str, length: int) -> None:
    """From zero to a little above chance: a candidate that diverges leaves the picture, not the others their shape."""
    top = axes.get_ylim()[1]
    if table is not None:
        chance = table.loc[table["exam"].eq(exam) & table["length"].eq(length), "chance"]
        top = min(top, REACH * chance.max()) if len(chance) else top
    axes.set_ylim(0, top)


def _draw_marks(axes: Axes, table: pd.DataFrame | None, exam: str, length: int) -> None:
    if table is None:
        return
    rows = table[table["exam"].eq(exam) & table["length"].eq(length)]
    for name, text, anchor in (("chance", "chance", "bottom"), ("pass_mark", "pass mark", "bottom")):
        if len(rows):
            level = float(rows[name].iloc[0])
            axes.axhline(level, color="0.35", linewidth=1, linestyle=(0, (1, 1)))
            axes.annotate(
                text, (1, level), xycoords=("axes fraction", "data"), xytext=(-2, 2), textcoords="offset points",
                ha="right", va=anchor, fontsize=8, color="0.35",
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
