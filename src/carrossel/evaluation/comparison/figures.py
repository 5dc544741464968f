"""Figures of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, MaxNLocator

from carrossel.diagnostics.figures import DASHES, PALETTE, gradient_by_lag
from carrossel.evaluation.comparison.summary import select_gradient
from carrossel.evaluation.figures import BLACK, BLUE, GREY, ORANGE, VERMILLION, look, new_figure, show_dates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from carrossel.evaluation.comparison.contest import Contest

ZOOM = 200
"""Rows of the test part in the close-up."""

_OUTLIER = 6
"""Skills that many times the typical size are drawn at the edge, with their number."""


@look()
def draw_skill(contests: Sequence[Contest]) -> Figure:
    """Skill against persistence of every competitor and dataset; the zero line is 'tomorrow = today'."""
    names = sorted({name for contest in contests for name in contest.competitors}, reverse=True)
    figure = new_figure(max(7.0, 4.6 * len(contests) + 1.4), 1.9 + 0.36 * len(names))
    panels = figure.subplots(1, len(contests), sharey=True, squeeze=False)[0]
    for axes, contest in zip(panels, contests, strict=True):
        _draw_skill_panel(axes, contest, names)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def _draw_skill_panel(axes: Axes, contest: Contest, names: Sequence[str]) -> None:
    validation, test = contest.skill("validation"), contest.skill("test")
    edge = _OUTLIER * max(float(np.median(np.abs([*validation.values(), *test.values()]))), 1e-3)
    axes.axvline(0, color=BLACK, linewidth=1.2)
    for name, skill in validation.items():
        place = names.index(name)
        axes.plot(
            [max(skill, -edge), max(test[name], -edge)], [place, place], color=GREY, linewidth=1, alpha=0.6, zorder=1
        )
        fill = BLACK if name == contest.evaluation["best_by_validation"] else "white"
        _mark(axes, skill, place, edge, {"marker": "o", "color": fill, "markeredgecolor": GREY, "markersize": 7})
        color = BLUE if test[name] > 0 else VERMILLION
        _mark(axes, test[name], place, edge, {"marker": "D", "color": color, "markersize": 7})
    axes.plot([], [], "o", color="white", markeredgecolor=GREY, markersize=7, label="validation")
    axes.plot([], [], "o", color=BLACK, markersize=7, label="best by validation")
    axes.plot([], [], "D", color=BLUE, markersize=7, label="test, better")
    axes.plot([], [], "D", color=VERMILLION, markersize=7, label="test, no better")
    axes.plot([], [], color=BLACK, label="'tomorrow = today'")
    left, right = axes.get_xlim()
    axes.set_xlim(min(left, -0.15 * (right - left)), max(right, 0.15 * (right - left)))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(_label_skill))
    axes.set_title(contest.dataset)
    axes.set_xlabel("← worse     skill: 1 − MSE / MSE of 'tomorrow = today'     better →", fontsize=9)


def _label_skill(value: float, _position: int) -> str:
    return f"{100 * value:+.3g} %".replace("-", "−") if value else "0"


def _mark(axes: Axes, skill: float, place: int, edge: float, style: dict[str, object]) -> None:
    if skill >= -edge:
        axes.plot(skill, place, linestyle="none", zorder=3, **style)  # type: ignore[arg-type]  # stubs want literals
        return
    axes.plot(-edge, place, linestyle="none", zorder=3, **{**style, "marker": "<"})  # type: ignore[arg-type]  # likewise
    axes.annotate(
        f"{100 * skill:,.0f} %".replace("-", "−"),
        (-edge, place),
        xytext=(0, 7),
        textcoords="offset points",
        fontsize=8,
        ha="left",
    )


@look()
def draw_forecast(contest: Contest) -> Figure:
    """The best by validation on the test part: the last rows against the truth, and change against change."""
    name = contest.evaluation["best_by_validation"]
    rows = contest.competitors[name].rows("test")
    figure = new_figure(11.0, 4.4)
    line, scatter = figure.subplots(1, 2, width_ratios=(2, 1.05))
    close_up = _break_at_holes(rows.tail(ZOOM))
    line.plot(close_up["time"], close_up["truth"], color=BLACK, linewidth=1.3, label="truth")
    line.plot(close_up["time"], close_up["forecast"], color=ORANGE, linewidth=1.3, label=f"forecast of {name}")
    line.set(title=f"{contest.dataset}: the last {min(ZOOM, len(rows))} test rows", ylabel="close (price units)")
    show_dates(line)
    line.set_xlabel("time of the bar forecast (UTC)")
    line.legend(loc="best")
    _draw_changes(scatter, rows)
    return figure


def _draw_changes(axes: Axes, rows: pd.DataFrame) -> None:
    truth = 100 * (rows["truth"] / rows["last_close"] - 1)
    forecast = 100 * (rows["forecast"] / rows["last_close"] - 1)
    reach = 1.05 * float(np.nanquantile(truth.abs(), 0.995))
    axes.plot([-reach, reach], [-reach, reach], color=GREY, linestyle="--", label="perfect")
    axes.axhline(0, color=BLACK, linewidth=1.2, label="'tomorrow = today'")
    axes.scatter(truth, forecast, s=7, color=ORANGE, alpha=0.5, linewidths=0, rasterized=True, zorder=3)
    axes.set(
        title="forecast change against true change",
        xlabel="true change from the last close (%)",
        ylabel="forecast change (%)",
        xlim=(-reach, reach),
        ylim=(-reach, reach),
    )
    axes.set_aspect("equal")
    axes.legend(loc="upper left", fontsize=8)


@look()
def draw_gradients(contest: Contest) -> dict[str, Figure]:
    """D1, all competitors on one plot: gradient norm by lag at the `first` and the `last` epoch, on one scale."""
    figures = {}
    for when in ("first", "last"):
        curves = {
            name: select_gradient(competitor.gradient_by_lag, last=when == "last").to_numpy()
            for name, competitor in contest.competitors.items()
        }
        figure = gradient_by_lag(curves, title=f"{contest.dataset}: {when} epoch")
        figure.set_size_inches(5.8, 3.9)  # two fit beside each other
        figures[when] = figure
    limits = [figure.axes[0].get_ylim() for figure in figures.values()]
    for figure in figures.values():
        figure.axes[0].set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    return figures


@look()
def draw_learning(contest: Contest) -> Figure:
    """Training and validation loss by epoch, one line per competitor."""
    figure = new_figure(11.0, 3.8)
    panels = figure.subplots(1, 2)
    for axes, column, title in zip(
        panels, ("train_loss", "validation_loss"), ("training loss", "validation loss"), strict=True
    ):
        for number, (name, competitor) in enumerate(contest.competitors.items()):
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


def pick_line(number: int) -> tuple[str, str]:
    """Colour and dashes of the n-th competitor, the same as in `diagnostics.figures.gradient_by_lag`."""
    return PALETTE[number % len(PALETTE)], DASHES[number // len(PALETTE) % len(DASHES)]


def _break_at_holes(rows: pd.DataFrame) -> pd.DataFrame:
    """Add an empty row in every hole, so no line is drawn across it.

    Exchanges close for up to 4 days round a weekend, so for daily bars a hole starts at 5 usual steps.
    """
    step = rows["time"].diff()
    after = rows.loc[step > 5 * step.median(), "time"]
    return pd.concat([rows, pd.DataFrame({"time": after - step.median()})]).sort_values("time", ignore_index=True)
