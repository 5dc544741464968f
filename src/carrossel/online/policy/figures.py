"""The backtest as a plot: skill against compute spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from carrossel.evaluation.comparison.figures import label_skill
from carrossel.evaluation.figures import BLACK, BLUE, ORANGE, look, new_figure
from carrossel.online.policy.policies import ON_DRIFT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from carrossel.evaluation.significance import SkillInterval
    from carrossel.online.policy.findings import Finding

_COLORS = {"expanding": BLUE, "rolling": ORANGE}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "*")


@look()
def draw_policies(findings: Sequence[Finding], title: str) -> Figure:
    """Skill and gain over never retraining, with 95 % intervals, against the CPU time that the fits took."""
    figure = new_figure(11.0, 4.8)
    markers = {
        rule: _MARKERS[place % len(_MARKERS)]
        for place, rule in enumerate(dict.fromkeys(found.policy.rule for found in findings))
    }
    skill, gain = figure.subplots(1, 2)
    skill.axhline(0, color=BLACK, linewidth=1.2)
    gain.axhline(0, color=BLACK, linewidth=1.2)
    for found in findings:
        marker = markers[found.policy.rule]
        _mark(skill, found, found.skill, marker)
        _mark(gain, found, found.gain.interval if found.gain else None, marker)
    _look_closer(skill, findings)
    skill.set(title="Beside 'tomorrow = today'", ylabel="skill: 1 − MSE / MSE of 'tomorrow = today'")
    gain.set(title="Beside never retraining", ylabel="gain: 1 − MSE / MSE of never retraining")
    for axes in (skill, gain):
        _show_seconds(axes, [found.cpu_seconds for found in findings])
        axes.yaxis.set_major_formatter(FuncFormatter(label_skill))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.legend(handles=_explain(findings, markers), loc="outside lower center", ncols=7, fontsize=9)
    return figure


def _mark(axes: Axes, found: Finding, interval: SkillInterval | None, marker: str) -> None:
    color = _COLORS[found.policy.window]
    drifted = found.policy.rule == ON_DRIFT
    value = interval.skill if interval else 0.0
    if interval:
        ends = [interval.lower, interval.upper]
        axes.plot([found.cpu_seconds] * 2, ends, color=color, linewidth=1.8, alpha=0.6, zorder=2)
    axes.plot(
        found.cpu_seconds,
        value,
        marker=marker,
        # Without an alarm 'on drift' is 'never': the larger, paler mark shows behind the smaller.
        markersize=12 if drifted else 7,
        # Where colours can't be told apart, a filled mark can from a hollow one.
        markerfacecolor=(color, 0.25 if drifted else 1.0) if found.policy.window == "expanding" else "white",
        markeredgecolor=color,
        markeredgewidth=1.6,
        zorder=2.5 if drifted else 3,
    )


def _show_seconds(axes: Axes, seconds: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(0.6 * min(seconds), 1.7 * max(seconds))
    axes.set_xlabel("CPU seconds of all fits")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _look_closer(axes: Axes, findings: Sequence[Finding]) -> None:
    """A zero line far away would press all policies into one."""
    low, high = min(found.skill.lower for found in findings), max(found.skill.upper for found in findings)
    if max(low, -high) > high - low:
        margin = 0.08 * (high - low)
        axes.set_ylim(low - margin, high + margin)


def _explain(findings: Sequence[Finding], markers: dict[str, str]) -> list[Line2D]:
    windows = [
        Line2D(
            [],
            [],
            color=_COLORS[window],
            linewidth=1.8,
            marker="o",
            markerfacecolor=_COLORS[window] if window == "expanding" else "white",
            markeredgecolor=_COLORS[window],
            markeredgewidth=1.6,
            label=f"{window} window",
        )
        for window in dict.fromkeys(found.policy.window for found in findings)
    ]
    rules = [
        Line2D(
            [],
            [],
            color=BLACK,
            linestyle="none",
            marker=marker,
            label=f"every {rule}" if rule[0].isdigit() else rule,
        )
        for rule, marker in markers.items()
    ]
    return [*windows, *rules]
