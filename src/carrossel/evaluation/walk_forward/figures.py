"""Figures of a walk-forward: does skill last, and do intervals hold what they promise?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter

from carrossel.evaluation.comparison.figures import label_skill
from carrossel.evaluation.figures import BLACK, BLUE, ORANGE, look, new_figure, show_dates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from carrossel.evaluation.comparison.contest import Contest

_OUTLIER = 6
"""Skills that many times the typical size lie outside of the picture."""


@look()
def draw_skill_by_fold(contest: Contest) -> Figure:
    """Skill of each fold by the fold's first bar; the chosen network and the best baseline stand out."""
    walk = contest.evaluation["walk_forward"]
    figure = new_figure(11.0, 3.8)
    axes = figure.subplots()
    axes.axhline(0, color=BLACK, linewidth=1.2, label="'tomorrow = today'")
    seen = []
    for name, style in _style_models(contest).items():
        skills = _by_fold(walk, walk["models"][name]["skill_by_fold"])
        seen.extend(np.abs(skills[np.isfinite(skills)]))
        axes.plot(_starts(walk), skills, **style)
    edge = _OUTLIER * max(float(np.median(seen)) if seen else 0.0, 1e-3)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -edge), min(high, edge))
    axes.yaxis.set_major_formatter(FuncFormatter(label_skill))
    _label_folds(axes, f"{contest.dataset}: skill by fold", "skill in the fold")
    _explain(figure, axes)
    return figure


@look()
def draw_coverage_by_fold(contest: Contest) -> Figure | None:
    """Share of truths within nominal 90 % intervals, by fold: split against adaptive; None for probabilities."""
    walk = contest.evaluation["walk_forward"]
    styles = _style_models(contest)
    known = [name for name in styles if walk["models"][name]["conformal"]]
    if not known:
        return None
    figure = new_figure(11.0, 3.6)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (kind, title) in zip(
        panels,
        (("split", "split: one width, from all errors so far"), ("adaptive", "adaptive: the width follows the errors")),
        strict=True,
    ):
        axes.axhline(walk["nominal"], color=BLACK, linewidth=1.2, label=f"promised: {100 * walk['nominal']:.0f} %")
        for name in known:
            values = _by_fold(walk, walk["models"][name]["conformal"][kind]["by_fold"])
            axes.plot(_starts(walk), values, **styles[name])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
        _label_folds(axes, title, "truths within")
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(min(low, 2 * walk["nominal"] - 1), max(high, 1.0))
    _explain(figure, panels[0])
    figure.suptitle(f"{contest.dataset}: coverage by fold", x=0.01, ha="left", fontsize=11)
    return figure


def _style_models(contest: Contest) -> dict[str, dict[str, Any]]:
    """Line style by model; those that stand out come last, so that they are drawn on top."""
    models = contest.evaluation["walk_forward"]["models"]
    baselines = [name for name in models if name in contest.baselines]
    networks = [name for name in models if name not in baselines]
    styles: dict[str, dict[str, Any]] = {}
    front: dict[str, dict[str, Any]] = {}
    for members, color, kind, best, role in (
        (baselines, ORANGE, "baselines", contest.evaluation["best_baseline"], "best baseline"),
        (networks, BLUE, "networks", contest.evaluation["best_by_validation"], "chosen network"),
    ):
        rest = [name for name in members if name != best]
        for number, name in enumerate(rest):
            label = f"other {kind}" if number == 0 else None
            styles[name] = {"color": color, "linewidth": 0.9, "alpha": 0.4, "label": label}
        if best in members:
            front[best] = {
                "color": color,
                "linewidth": 2.2,
                "marker": "o",
                "markersize": 5,
                "label": f"{best} ({role})",
            }
    return {**styles, **front}


def _by_fold(walk: Mapping[str, Any], values: Mapping[str, float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    found = [values.get(str(fold["fold"])) for fold in walk["folds"]]
    return np.array([np.nan if value is None else value for value in found])


def _starts(walk: Mapping[str, Any]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex([pd.Timestamp(fold["first"]) for fold in walk["folds"]])


def _label_folds(axes: Axes, title: str, what: str) -> None:
    show_dates(axes)
    axes.set(title=title, xlabel="first bar of the fold (UTC)", ylabel=what)
    axes.margins(x=0.02)


def _explain(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=9)
