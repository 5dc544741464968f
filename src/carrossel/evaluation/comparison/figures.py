"""Figures of the report."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from carrossel.diagnostics.figures import DASHES, PALETTE, gradient_by_lag
from carrossel.evaluation.comparison.summary import select_gradient
from carrossel.evaluation.figures import BLACK, BLUE, GREY, ORANGE, VERMILLION, look, new_figure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from carrossel.evaluation.comparison.contest import Contest

VERDICT_COLORS = {
    "beats persistence": BLUE,
    "no evidence of skill": GREY,
    "echo": ORANGE,
    "suspiciously good: check for leakage": VERMILLION,
}

_OUTLIER = 6
"""Skills that many times the typical size are drawn at the edge, with their number."""


@look()
def draw_skill(contests: Sequence[Contest]) -> Figure:
    """Skill against persistence of every competitor and dataset, with its 95 % interval; the zero line is 'tomorrow = today'."""
    columns = min(len(contests), 2)
    rows = [contests[start : start + columns] for start in range(0, len(contests), columns)]
    heights = [0.95 + 0.27 * max(len(contest.competitors) for contest in row) for row in rows]
    figure = new_figure(11.0 if columns > 1 else 8.0, sum(heights) + 0.7)
    panels = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for axes, contest in zip_longest(panels.flat, contests):
        if contest is None:
            axes.remove()
        else:
            _draw_skill_panel(axes, contest)
    figure.legend(handles=_explain_marks(contests), loc="outside lower center", ncols=5, fontsize=9)
    return figure


def _draw_skill_panel(axes: Axes, contest: Contest) -> None:
    validation, test = contest.skill("validation"), contest.skill("test")
    judgements = contest.evaluation["judgements"]
    names = [*contest.networks, *contest.baselines][::-1]
    edge = _choose_edge([*validation.values(), *test.values()], judgements.values())
    axes.axvline(0, color=BLACK, linewidth=1.2)
    for place, name in enumerate(names):
        found = judgements[name]
        color = VERDICT_COLORS[found["verdict"]]
        ends = np.clip([found["lower"], found["upper"]], -edge, edge)
        axes.plot(ends, [place, place], color=color, linewidth=2.4, alpha=0.55, solid_capstyle="butt", zorder=2)
        chosen = name == contest.evaluation["best_by_validation"]
        circle = {"marker": "o", "color": BLACK if chosen else "white", "markeredgecolor": BLACK, "markersize": 5}
        _mark(axes, validation[name], place, edge, circle)
        marker = "s" if contest.competitors[name].is_baseline else "D"
        _mark(axes, test[name], place, edge, {"marker": marker, "color": color, "markersize": 7})
        _number_outside(axes, {"validation": validation[name], "test": test[name]}, place, edge)
    if contest.baselines:
        axes.axhline(len(contest.baselines) - 0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(names)), names)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_fontstyle("italic" if contest.competitors[name].is_baseline else "normal")
    axes.set_ylim(-0.6, len(names) - 0.4)
    left, right = axes.get_xlim()
    axes.set_xlim(min(left, -0.15 * (right - left)), max(right, 0.15 * (right - left)))
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(label_skill))
    axes.set_title(contest.dataset)
    axes.set_xlabel("← worse     skill: 1 − MSE / MSE of 'tomorrow = today'     better →", fontsize=9)


def _explain_marks(contests: Sequence[Contest]) -> list[Line2D]:
    seen = {found["verdict"] for contest in contests for found in contest.evaluation["judgements"].values()}
    marks = [
        Line2D([], [], color=BLACK, label="'tomorrow = today'"),
        Line2D([], [], linestyle="none", marker="o", color="white", markeredgecolor=BLACK, label="validation"),
        Line2D([], [], linestyle="none", marker="o", color=BLACK, label="validation: the network chosen"),
        Line2D([], [], linestyle="none", marker="D", color="#444444", label="test: network"),
    ]
    if any(contest.baselines for contest in contests):
        marks.append(Line2D([], [], linestyle="none", marker="s", color="#444444", label="test: baseline"))
    return marks + [
        Line2D([], [], color=color, linewidth=5, alpha=0.7, label=verdict)
        for verdict, color in VERDICT_COLORS.items()
        if verdict in seen
    ]


def _choose_edge(skills: Sequence[float], judgements: Iterable[Mapping[str, Any]]) -> float:
    """Where the axis ends on either side: some times the typical skill, and wide enough for the typical interval."""
    ends = [abs(found[key]) for found in judgements for key in ("lower", "upper")]
    return max(_OUTLIER * float(np.median(np.abs(skills))), 1.5 * float(np.median(ends)), 1e-3)


def label_skill(value: float, _position: int) -> str:
    """A tick of a skill axis, as percent."""
    return f"{100 * value:+.3g} %".replace("-", "−") if value else "0"


def _mark(axes: Axes, skill: float, place: int, edge: float, style: dict[str, Any]) -> None:
    """A mark at its skill; a triangle at the edge if that lies outside."""
    if abs(skill) > edge:
        style = {**style, "marker": "<" if skill < 0 else ">"}
    axes.plot(np.clip(skill, -edge, edge), place, linestyle="none", zorder=3, **style)


def _number_outside(axes: Axes, skills: Mapping[str, float], place: int, edge: float) -> None:
    """Write the skills that lie outside beside their marks, on either side in one line: rows stand too close for two."""
    for sign in (-1, 1):
        outside = {part: skill for part, skill in skills.items() if sign * skill > edge}
        if not outside:
            continue
        told = [f"{part} {100 * skill:+,.0f} %".replace("-", "−") for part, skill in outside.items()]
        axes.annotate(
            ", ".join(told),
            (sign * edge, place),
            xytext=(-8 * sign, 0 if len(outside) == len(skills) else 7),  # clear of the mark that lies inside
            textcoords="offset points",
            fontsize=7.5,
            ha="left" if sign < 0 else "right",
            va="center",
            zorder=2.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
        )


@look()
def draw_gradients(contest: Contest) -> dict[str, Figure]:
    """D1, all networks on one plot: gradient norm by lag at the `first` and the `last` epoch, on one scale."""
    figures = {}
    for when in ("first", "last"):
        curves = {
            name: select_gradient(competitor.gradient_by_lag, last=when == "last").to_numpy()
            for name, competitor in contest.networks.items()
        }
        figure = gradient_by_lag(curves, title=f"{contest.dataset}: {when} epoch")
        figure.set_size_inches(5.8, _fit_names(len(curves), 3.9))  # two fit beside each other
        figures[when] = figure
    limits = [figure.axes[0].get_ylim() for figure in figures.values()]
    for figure in figures.values():
        figure.axes[0].set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    return figures


@look()
def draw_learning(contest: Contest) -> Figure:
    """Training and validation loss by epoch, one line per network."""
    figure = new_figure(11.0, _fit_names(len(contest.networks), 3.8))
    panels = figure.subplots(1, 2)
    for axes, column, title in zip(
        panels, ("train_loss", "validation_loss"), ("training loss", "validation loss"), strict=True
    ):
        for number, (name, competitor) in enumerate(contest.networks.items()):
            color, dashes = pick_line(number)
            history = competitor.history
            axes.plot(
                history["epoch"], history[column], color=color, linestyle=dashes, marker="o", markersize=3, label=name
            )
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(title=f"{contest.dataset}: {title}", xlabel="epoch", ylabel="loss (scaled target)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    return figure


def _fit_names(count: int, least: float) -> float:
    """Inches that a legend of so many names needs."""
    return max(least, 0.6 + 0.22 * count)


def pick_line(number: int) -> tuple[str, str]:
    """Colour and dashes of the n-th competitor, the same as in `diagnostics.figures.gradient_by_lag`."""
    return PALETTE[number % len(PALETTE)], DASHES[number // len(PALETTE) % len(DASHES)]
