"""How trials went: in their order, by epoch, and between objectives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from optuna.trial import TrialState

from carrossel.evaluation.figures import BLACK, BLUE, GREY, ORANGE, VERMILLION, look, new_figure
from carrossel.tuning.report.figures.panels import NO_COMPLETE, SKILL, explain, fade, limit_skill, mark_below
from carrossel.tuning.samplers import REDUCTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from carrossel.tuning.report.findings import Findings

_UNITS = {"latency": "latency of a forecast, µs", "parameters": "parameters", "skill": SKILL}


@look()
def draw_history(found: Findings) -> Figure | str:
    """Skill of every trial in the order of their numbers, and the best so far."""
    if not found.complete:
        return NO_COMPLETE
    figure = new_figure(9.5, 4.2)
    axes = figure.subplots()
    skills = {trial.number: trial.values[0] for trial in found.complete}
    low = limit_skill(axes, skills.values())
    seen = [number for number, skill in skills.items() if skill >= low]
    axes.plot(seen, [skills[number] for number in seen], "o", color=BLUE, markersize=5, label="complete")
    mark_below(axes, [number for number in skills if number not in seen])
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
    axes.set_ylabel(SKILL)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("Trials in the order in which they were drawn")
    figure.legend(loc="outside lower center", ncols=5, fontsize=9)
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
    limit_skill(axes, [value for trial in told for value in trial.intermediate_values.values()])
    looks = {
        TrialState.PRUNED: (ORANGE, "pruned"),
        TrialState.COMPLETE: (BLUE, "complete"),
        TrialState.FAIL: (GREY, "failed"),
    }
    opacity = fade(len(told))
    by_fold = found.config.get("pruner") == "wilcoxon"
    for trial in told:
        color, name = looks.get(trial.state, (GREY, "still running"))
        best = trial is found.best
        steps = sorted(trial.intermediate_values)
        values = [trial.intermediate_values[step] for step in steps]
        steps = [step + by_fold for step in steps]  # folds are counted from 0, epochs from 1
        axes.plot(
            steps, values, color=VERMILLION if best else color, linewidth=2.4 if best else 1.0, zorder=4 if best else 2,
            alpha=1 if best else opacity, label="best" if best else name, marker="." if len(steps) == 1 else None,
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
    explain(figure, [axes])
    return figure


def rungs(found: Findings) -> list[int]:
    """Epochs spent at which hyperband and asha compare trials."""
    if found.config.get("pruner") not in {"hyperband", "asha"}:
        return []
    steps = int(found.config.get("epochs", 1)) * int(found.config.get("folds", 1))
    first = max(int(found.config.get("prune_after", 1)), 1)
    return [step for n in range(steps) if (step := first * REDUCTION**n) <= steps]


@look()
def draw_pareto_front(found: Findings) -> Figure | str:
    """Skill against each other objective, a panel each; trials that no other beats in everything are the front."""
    others = found.objectives[1:]
    if not others:
        return "there is one objective"
    if not found.complete:
        return NO_COMPLETE
    figure = new_figure(5.4 * len(others) + 0.8, 4.6)
    panels = figure.subplots(1, len(others), squeeze=False, sharey=True)[0]
    front = found.front
    low = limit_skill(panels[0], [trial.values[0] for trial in found.complete])
    for n, (axes, name) in enumerate(zip(panels, others, strict=True), start=1):
        rest = [trial for trial in found.complete if trial.number not in {best.number for best in front}]
        for trials, style in (
            (rest, {"marker": "o", "color": BLUE, "alpha": 0.6, "label": "another is as good or better in everything"}),
            (front, {"marker": "D", "color": VERMILLION, "markersize": 6, "label": "front"}),
        ):
            seen = [trial for trial in trials if trial.values[0] >= low]
            axes.plot([t.values[n] for t in seen], [t.values[0] for t in seen], linestyle="none", **style)
            mark_below(axes, [t.values[n] for t in trials if t.values[0] < low])
        if len(others) == 1:
            line = sorted((t.values[n], t.values[0]) for t in front if t.values[0] >= low)
            axes.step(*zip(*line, strict=True), where="post", color=VERMILLION, linewidth=1, zorder=1)
        if all(trial.values[n] > 0 for trial in found.complete) and _decades([t.values[n] for t in found.complete]) > 1:
            axes.set_xscale("log")
        axes.set_xlabel(f"← better     {_UNITS.get(name, name)}")
    panels[0].set_ylabel(f"{SKILL}     better →")
    panels[0].set_title("What more skill costs")
    explain(figure, panels)
    return figure


def _decades(values: Sequence[float]) -> float:
    return math.log10(max(values) / min(values))
