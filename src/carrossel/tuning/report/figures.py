"""Figures of a study.

Optuna's own, drawn with matplotlib, print names, numbers and legends over one another as soon as there are more than four keys,
and leave pruned trials and rungs out: hence these, from the same data.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.ticker import FuncFormatter, MaxNLocator
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from carrossel.evaluation.comparison.figures import label_skill
from carrossel.evaluation.figures import BLACK, BLUE, GREY, ORANGE, VERMILLION, look, new_figure
from carrossel.tuning.config import LIST_SEPARATOR
from carrossel.tuning.report.findings import fence, find
from carrossel.tuning.report.tables import format_value
from carrossel.tuning.variance import FEWEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import optuna
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution

    from carrossel.tuning.report.findings import Findings
    from carrossel.tuning.variance import Explained

_COLUMNS = 4  # panels beside one another
_CONTOUR_KEYS = 3
_FEW = 6  # choices whose names find room on an axis
_LONG = 18  # letters
_SKILL = "validation skill"
_UNITS = {"latency": "latency of a forecast, µs", "parameters": "parameters", "skill": _SKILL}
_NO_COMPLETE = "no trial is complete"
_NO_KEY = "no key was drawn"
_REDUCTION = 3  # see samplers.make_pruner
_UNDRAWN = -0.12  # height in parallel coordinates of what a trial didn't draw


def figures(study: optuna.Study) -> dict[str, Figure]:
    """Every figure that can be drawn of a study, by name."""
    drawn = draw(find(study))
    return {name: figure for name, figure in drawn.items() if not isinstance(figure, str)}


def draw(found: Findings) -> dict[str, Figure | str]:
    """Every figure by name, or why it can't be drawn."""
    return {
        "history": draw_history(found),
        "importance": draw_importance(found),
        "slice": draw_slice(found),
        "contour": draw_contour(found),
        "parallel_coordinates": draw_parallel_coordinates(found),
        "learning_curves": draw_learning_curves(found),
        "pareto_front": draw_pareto_front(found),
    }


@look()
def draw_history(found: Findings) -> Figure | str:
    """Skill of every trial in the order of their numbers, and the best so far."""
    if not found.complete:
        return _NO_COMPLETE
    figure = new_figure(9.5, 4.2)
    axes = figure.subplots()
    skills = {trial.number: trial.values[0] for trial in found.complete}
    low = _limit(axes, skills.values())
    seen = [number for number, skill in skills.items() if skill >= low]
    axes.plot(seen, [skills[number] for number in seen], "o", color=BLUE, markersize=5, label="complete")
    _mark_below(axes, [number for number in skills if number not in seen])
    for place, (state, marker, color) in enumerate(
        ((TrialState.PRUNED, "x", ORANGE), (TrialState.FAIL, "|", VERMILLION))
    ):
        if numbers := [trial.number for trial in found.of(state)]:
            heights = [-0.06 - 0.05 * place] * len(numbers)
            style: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False, "linestyle": "none"}
            name = "failed" if state == TrialState.FAIL else "pruned"
            axes.plot(
                numbers, heights, marker=marker, markersize=6, color=color, markeredgewidth=1.8, label=name, **style
            )
    best = np.maximum.accumulate(list(skills.values()))
    steps = [*skills, found.trials[-1].number]
    axes.step(steps, [*best, best[-1]], where="post", color=BLACK, linewidth=1.4, label="best so far")
    axes.set_xlabel("trial")
    axes.set_xlim(-0.02 * len(found.trials) - 0.5, 1.02 * len(found.trials) - 0.5)
    axes.tick_params(axis="x", pad=26, length=0)
    axes.spines["bottom"].set_visible(False)
    axes.set_ylabel(_SKILL)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("Trials in the order in which they were drawn")
    figure.legend(loc="outside lower center", ncols=5, fontsize=9)
    return figure


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
        return _NO_COMPLETE
    if not found.distributions:
        return _NO_KEY
    keys = list(found.importance["key"])
    columns = min(_COLUMNS, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure = new_figure(max(3.1 * columns, 5) + 0.6, 2.7 * rows + 0.8)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    low = _limit(panels[0], [trial.values[0] for trial in found.complete])
    for axes, key in zip(panels, keys, strict=False):
        space = found.distributions[key]
        drawn = [trial for trial in found.complete if key in trial.params]
        places = _spread(_places(space, [trial.params[key] for trial in drawn]), space)
        skills = np.asarray([trial.values[0] for trial in drawn])
        above = skills >= low
        axes.plot(places[above], skills[above], "o", color=BLUE, markersize=4, alpha=0.75, label="complete trial")
        _mark_below(axes, places[~above])
        if key in found.default and not space.single() and _allows(space, found.default[key]):
            default = _places(space, [found.default[key]])[0]
            axes.axvline(default, color=GREY, linestyle="dashed", linewidth=1.3, label="default", zorder=1)
        if found.best and key in found.best.params:
            place = places[drawn.index(found.best)]
            axes.plot(
                place, found.best.values[0], "*", color=VERMILLION, markersize=12, label="best", markeredgecolor="white"
            )
        _label(axes, space)
        axes.set_title(key, fontsize=10)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    for axes in panels[::columns]:
        axes.set_ylabel(_SKILL)
    _explain(figure, panels)
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
            _spread(_places(space, [trial.params[key] for trial in found.complete]), space)
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
        _label(axes, spaces[0])
        _label(axes, spaces[1], up=True)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(visible=False)
    assert image is not None  # noqa: S101 - there is a pair
    figure.colorbar(image, ax=panels, label=f"{_SKILL} foreseen", format=FuncFormatter(label_skill), pad=0.02)
    _explain(figure, panels)
    return figure


@look()
def draw_parallel_coordinates(found: Findings) -> Figure | str:
    """A line per complete trial through the values it drew to its skill; the best on top."""
    if not found.complete:
        return _NO_COMPLETE
    if not found.distributions:
        return _NO_KEY
    keys = list(found.distributions)
    figure = new_figure(max(1.45 * (len(keys) + 1), 6) + 1.2, 4.9)
    axes = figure.subplots()
    skills = np.asarray([trial.values[0] for trial in found.complete])
    columns = [_relative(found.distributions[key], [trial.params.get(key) for trial in found.complete]) for key in keys]
    shown = found.skills
    span = np.ptp(shown) or 1.0
    heights = np.column_stack([*columns, (shown - shown.min()) / span if np.ptp(shown) else np.full(len(shown), 0.5)])
    order = np.argsort(skills, kind="stable")
    ranks = np.empty(len(skills))
    ranks[order] = np.linspace(0, 1, len(skills)) if len(skills) > 1 else 1.0
    across = np.arange(len(keys) + 1)
    lines = LineCollection(
        [np.column_stack([across, heights[n]]) for n in order],
        cmap="viridis_r", linewidths=[3.0 if n == order[-1] else 1.0 for n in order], alpha=_fade(len(order)),
    )  # fmt: skip
    lines.set_array(ranks[order])
    lines.set_clim(0, 1)
    axes.add_collection(lines)
    for place, key in enumerate(keys):
        _mark_column(axes, place, _column_ticks(found.distributions[key]))
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


@look()
def draw_learning_curves(found: Findings) -> Figure | str:
    """Values reported by step; pruned trials end in a cross, rungs of a halving pruner are marked."""
    if len(found.study.directions) > 1:
        return "trials of several objectives report nothing on their way (Optuna can't prune them)"
    told = [trial for trial in found.trials if trial.intermediate_values]
    if not told:
        return "no trial has reported an epoch yet"
    figure = new_figure(9.5, 4.6)
    axes = figure.subplots()
    _limit(axes, [value for trial in told for value in trial.intermediate_values.values()])
    looks = {
        TrialState.PRUNED: (ORANGE, "pruned"),
        TrialState.COMPLETE: (BLUE, "complete"),
        TrialState.FAIL: (GREY, "failed"),
    }
    fade = _fade(len(told))
    by_fold = found.config.get("pruner") == "wilcoxon"
    for trial in told:
        color, name = looks.get(trial.state, (GREY, "still running"))
        best = trial is found.best
        steps = sorted(trial.intermediate_values)
        values = [trial.intermediate_values[step] for step in steps]
        steps = [step + by_fold for step in steps]  # folds are counted from 0, epochs from 1
        axes.plot(
            steps, values, color=VERMILLION if best else color, linewidth=2.4 if best else 1.0, zorder=4 if best else 2,
            alpha=1 if best else fade, label="best" if best else name, marker="." if len(steps) == 1 else None,
        )  # fmt: skip
        if trial.state == TrialState.PRUNED:
            style: dict[str, Any] = {"markersize": 6, "markeredgewidth": 1.5, "zorder": 3, "linestyle": "none"}
            axes.plot(steps[-1], values[-1], marker="x", color=BLACK, label="pruned here", **style)
    for n, rung in enumerate(rungs(found)):
        axes.axvline(rung, color=BLACK, linestyle="dashed", linewidth=1, label="rung", zorder=1)
        axes.text(rung, 1.0, f" rung {n}", transform=axes.get_xaxis_transform(), va="top", fontsize=8, color="0.25")
    epochs, folds = found.config.get("epochs", 0), found.config.get("folds", 1)
    for fold in range(0 if by_fold or not epochs else folds):
        if fold:
            axes.axvline(fold * epochs + 0.5, color=GREY, linewidth=1, linestyle="dotted", label="next fold", zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("fold" if by_fold else "epochs" if folds == 1 else "epochs, one fold after the other")
    axes.set_ylabel("skill of the fold" if by_fold else "validation skill, best epoch so far")
    axes.set_title("How trials learned, and where they were given up")
    _explain(figure, [axes])
    return figure


@look()
def draw_pareto_front(found: Findings) -> Figure | str:
    """Skill against each other objective, a panel each; trials that no other beats in everything are the front."""
    others = found.objectives[1:]
    if not others:
        return "there is one objective"
    if not found.complete:
        return _NO_COMPLETE
    figure = new_figure(5.4 * len(others) + 0.8, 4.6)
    panels = figure.subplots(1, len(others), squeeze=False, sharey=True)[0]
    front = found.front
    low = _limit(panels[0], [trial.values[0] for trial in found.complete])
    for n, (axes, name) in enumerate(zip(panels, others, strict=True), start=1):
        rest = [trial for trial in found.complete if trial.number not in {best.number for best in front}]
        for trials, style in (
            (rest, {"marker": "o", "color": BLUE, "alpha": 0.6, "label": "another is as good or better in everything"}),
            (front, {"marker": "D", "color": VERMILLION, "markersize": 6, "label": "front"}),
        ):
            seen = [trial for trial in trials if trial.values[0] >= low]
            axes.plot([t.values[n] for t in seen], [t.values[0] for t in seen], linestyle="none", **style)
            _mark_below(axes, [t.values[n] for t in trials if t.values[0] < low])
        if len(others) == 1:
            line = sorted((t.values[n], t.values[0]) for t in front if t.values[0] >= low)
            axes.step(*zip(*line, strict=True), where="post", color=VERMILLION, linewidth=1, zorder=1)
        if all(trial.values[n] > 0 for trial in found.complete) and _decades([t.values[n] for t in found.complete]) > 1:
            axes.set_xscale("log")
        axes.set_xlabel(f"← better     {_UNITS.get(name, name)}")
    panels[0].set_ylabel(f"{_SKILL}     better →")
    panels[0].set_title("What more skill costs")
    _explain(figure, panels)
    return figure


def rungs(found: Findings) -> list[int]:
    """Epochs spent at which hyperband and asha compare trials."""
    if found.config.get("pruner") not in {"hyperband", "asha"}:
        return []
    steps = int(found.config.get("epochs", 1)) * int(found.config.get("folds", 1))
    first = max(int(found.config.get("prune_after", 1)), 1)
    return [step for n in range(steps) if (step := first * _REDUCTION**n) <= steps]


def _limit(axes: Axes, values: Iterable[float]) -> float:
    """Cut the axis of skills below hopeless trials, so that one of them doesn't press all others into a line.

    Returns:
        The least skill that is shown.
    """
    finite = np.asarray([value for value in values if np.isfinite(value)])
    axes.yaxis.set_major_formatter(FuncFormatter(label_skill))
    if not len(finite):
        return -np.inf
    seen = finite[finite >= fence(finite)]
    low, high = float(seen.min()), float(seen.max())
    margin = 0.06 * (high - low) or max(abs(high) * 0.05, 1e-4)
    axes.set_ylim(low - margin, high + margin)
    return low


def _mark_below(axes: Axes, across: Sequence[float] | NDArray[np.float64]) -> None:
    """Triangles at the lower edge for what lies below it."""
    if len(across):
        style: dict[str, Any] = {"linestyle": "none", "color": "white", "markeredgecolor": BLACK, "clip_on": False}
        axes.plot(
            across,
            [0.0] * len(across),
            marker="v",
            markersize=6,
            label="further below",
            transform=axes.get_xaxis_transform(),
            **style,
        )


def _places(space: BaseDistribution, values: Sequence[Any]) -> NDArray[np.float64]:
    """Values as numbers on the scale they are drawn on: logarithms of logarithmic ones, places among choices."""
    if isinstance(space, CategoricalDistribution):
        return np.asarray([space.choices.index(value) for value in values], dtype=np.float64)
    numbers = np.asarray(values, dtype=np.float64)
    return np.log10(numbers) if getattr(space, "log", False) else numbers


def _allows(space: BaseDistribution, value: Any) -> bool:
    """Whether a default has a place on the key's axis."""
    if isinstance(space, CategoricalDistribution):
        return value in space.choices
    return isinstance(value, int | float) and bool(space.low <= value <= space.high)  # type: ignore[attr-defined]


def _spread(places: NDArray[np.float64], space: BaseDistribution) -> NDArray[np.float64]:
    """Trials of one choice beside one another, evenly and not at random."""
    if not isinstance(space, CategoricalDistribution):
        return places
    spread = places.copy()
    for place in np.unique(places):
        (same,) = np.nonzero(places == place)
        spread[same] += 0.44 * ((0.5 + 0.618034 * np.arange(len(same))) % 1 - 0.5)
    return spread


def _ends(space: BaseDistribution) -> tuple[float, float]:
    if isinstance(space, CategoricalDistribution):
        return -0.5, len(space.choices) - 0.5
    low, high = _places(space, [space.low, space.high])  # type: ignore[attr-defined]
    return float(low), float(high)


def _label(axes: Axes, space: BaseDistribution, *, up: bool = False) -> None:
    """Limits and ticks of an axis of places."""
    low, high = _ends(space)
    margin = 0 if isinstance(space, CategoricalDistribution) else 0.04 * (high - low) or 0.5
    axis = axes.yaxis if up else axes.xaxis
    (axes.set_ylim if up else axes.set_xlim)(low - margin, high + margin)
    if isinstance(space, CategoricalDistribution):
        names = [_short(choice, lines=True) for choice in space.choices]
        axis.set_ticks(range(len(names)), names, fontsize=8)
    elif space.single():
        axis.set_ticks([low], [format_value(space.low)], fontsize=8)  # type: ignore[attr-defined]
    elif getattr(space, "log", False):
        ticks = _log_ticks(low, high)
        axis.set_ticks(np.log10(ticks), [format_value(tick) for tick in ticks], fontsize=8)
    else:
        axis.set_major_locator(MaxNLocator(4, integer=space.__class__.__name__ == "IntDistribution"))
        axis.set_tick_params(labelsize=8)


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two logarithms: 1, 2, 5 where there are few decades."""
    subs = (1.0, 2.0, 5.0) if high - low < 1.6 else (1.0, 3.0) if high - low < 3 else (1.0,)  # noqa: PLR2004 - decades
    candidates = [sub * 10.0**decade for decade in range(math.floor(low), math.ceil(high) + 1) for sub in subs]
    inside = [float(f"{tick:.6g}") for tick in candidates if low - 1e-9 <= math.log10(tick) <= high + 1e-9]
    return inside or [float(f"{10**low:.3g}"), float(f"{10**high:.3g}")]


def _short(choice: Any, *, lines: bool = False) -> str:
    """A choice's name; of long lists their length."""
    text = str(choice)
    if LIST_SEPARATOR in text:
        names = text.split(LIST_SEPARATOR)
        return "\n".join(names) if lines and len(names) <= 3 else f"{names[0]}\n+ {len(names) - 1} more"  # noqa: PLR2004
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def _relative(space: BaseDistribution, values: Sequence[Any]) -> NDArray[np.float64]:
    """Values from 0 to 1 along their axis."""
    low, high = _column_ends(space)
    span = high - low
    return np.asarray(
        [_UNDRAWN if v is None else (_places(space, [v])[0] - low) / span if span else 0.5 for v in values]
    )


def _column_ends(space: BaseDistribution) -> tuple[float, float]:
    return (0.0, len(space.choices) - 1.0) if isinstance(space, CategoricalDistribution) else _ends(space)


def _column_ticks(space: BaseDistribution) -> list[tuple[float, str]]:
    low, high = _column_ends(space)
    if isinstance(space, CategoricalDistribution):
        shown = range(len(space.choices)) if len(space.choices) <= _FEW else (0, len(space.choices) - 1)
        return [(n / (high or 1) if high else 0.5, _short(space.choices[n])) for n in shown]
    if space.single():
        return [(0.5, format_value(space.low))]  # type: ignore[attr-defined]
    ends = [(0.0, format_value(space.low)), (1.0, format_value(space.high))]  # type: ignore[attr-defined]
    if getattr(space, "log", False):
        between = [(float((np.log10(t) - low) / (high - low)), format_value(t)) for t in _log_ticks(low, high)]
    else:
        between = [
            (float((t - low) / (high - low)), format_value(float(t))) for t in MaxNLocator(4).tick_values(low, high)
        ]
    return [*ends, *[(height, text) for height, text in between if 0.1 < height < 0.9]]  # noqa: PLR2004 - clear of the ends


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
    low, high = _ends(found.distributions[key])
    return np.linspace(low, high, count + 1)


def _decades(values: Sequence[float]) -> float:
    return math.log10(max(values) / min(values))


def _fade(lines: int) -> float:
    """How opaque lines are: the more, the less."""
    return min(0.8, max(0.2, 40 / lines))


def _explain(figure: Figure, panels: Iterable[Axes]) -> None:
    """One legend for all panels."""
    seen: dict[str, Any] = {}
    for axes in panels:
        handles, names = axes.get_legend_handles_labels()
        for handle, name in zip(handles, names, strict=True):
            seen.setdefault(name, handle)
    if seen:
        figure.legend(seen.values(), seen, loc="outside lower center", ncols=6, fontsize=9)
