"""Figures of single forecasts: against the truth, and as an echo of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from carrossel.evaluation.figures import BLACK, BLUE, GREY, ORANGE, look, new_figure, show_dates
from carrossel.evaluation.metrics import PERSISTENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from carrossel.evaluation.comparison.contest import Contest

ZOOM = 200
"""Rows of the test part in the close-up."""

_LEVELS = {"price": "close (price units)", "log_variance": "log variance"}
_BINS = 10


@look()
def draw_forecast(contest: Contest) -> Figure:
    """The best by validation on the test part: the last rows against the truth, and what it foresees of the change."""
    name = contest.evaluation["best_by_validation"]
    rows = contest.competitors[name].rows("test")
    figure = new_figure(11.0, 4.4)
    line, side = figure.subplots(1, 2, width_ratios=(2, 1.05))
    close_up = _break_at_holes(rows.tail(ZOOM))
    if contest.unit == "probability":
        _draw_chances(line, close_up, name)
        _draw_reliability(side, rows)
    else:
        line.plot(close_up["time"], close_up["truth"], color=BLACK, linewidth=1.3, label="truth")
        line.plot(close_up["time"], close_up["forecast"], color=ORANGE, linewidth=1.3, label=f"forecast of {name}")
        line.set_ylabel(_LEVELS[contest.unit])
        line.legend(loc="best")
        _draw_changes(side, rows, in_percent=contest.unit == "price")
    line.set_title(f"{contest.dataset}: the last {min(ZOOM, len(rows))} test rows")
    show_dates(line)
    line.set_xlabel("time of the bar forecast (UTC)")
    return figure


def _draw_chances(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    axes.axhline(0.5, color=BLACK, linewidth=1.2, label="'tomorrow = today': as likely as not")
    axes.plot(rows["time"], rows["forecast"], color=ORANGE, linewidth=1.3, label=f"forecast of {name}")
    reach = max(0.05, 1.3 * float((rows["forecast"] - 0.5).abs().max()))
    for came, word, marker in ((1.0, "went up", "^"), (0.0, "did not", "v")):
        there = rows[rows["truth"] == came]
        height = 0.5 + (reach if came else -reach)
        axes.plot(there["time"], np.full(len(there), height), marker, color=GREY, markersize=3, label=word)
    axes.set(ylabel="probability of up", ylim=(0.5 - 1.7 * reach, 0.5 + 1.15 * reach))
    axes.legend(loc="lower center", ncols=4, fontsize=8)


def _draw_reliability(axes: Axes, rows: pd.DataFrame) -> None:
    """Does 60 % mean six in ten? Bins hold equally many rows."""
    order = rows.sort_values("forecast", kind="stable")
    bins = [part for part in np.array_split(np.arange(len(order)), min(_BINS, len(order))) if len(part)]
    said = [float(order["forecast"].iloc[part].mean()) for part in bins]
    came = [float(order["truth"].iloc[part].mean()) for part in bins]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfect")
    axes.axhline(float(rows["truth"].mean()), color=BLACK, linewidth=1.2, label="share of ups overall")
    axes.plot(said, came, "o-", color=ORANGE, markersize=5, label=f"each {len(bins[0]):,} rows" if bins else None)
    low, high = min(*said, *came, 0.45), max(*said, *came, 0.55)
    margin = 0.06 * (high - low)
    axes.set(
        title="share of ups against forecast",
        xlabel="probability of up that was forecast",
        ylabel="share that went up",
        xlim=(low - margin, high + margin),
        ylim=(low - margin, high + margin),
    )
    axes.legend(loc="upper left", fontsize=8)


def _draw_changes(axes: Axes, rows: pd.DataFrame, *, in_percent: bool) -> None:
    truth, forecast = (_change(rows, column, in_percent=in_percent) for column in ("truth", "forecast"))
    reach = 1.05 * float(np.nanquantile(truth.abs(), 0.995))
    unit = "%" if in_percent else "log variance"
    axes.plot([-reach, reach], [-reach, reach], color=GREY, linestyle="--", label="perfect")
    axes.axhline(0, color=BLACK, linewidth=1.2, label="'tomorrow = today'")
    axes.scatter(truth, forecast, s=7, color=ORANGE, alpha=0.5, linewidths=0, rasterized=True, zorder=3)
    axes.set(
        title="forecast change against true change",
        xlabel=f"true change from today ({unit})",
        ylabel=f"forecast change ({unit})",
        xlim=(-reach, reach),
        ylim=(-reach, reach),
    )
    axes.set_aspect("equal")
    axes.legend(loc="upper left", fontsize=8)


def _change(rows: pd.DataFrame, column: str, *, in_percent: bool) -> pd.Series:
    return 100 * (rows[column] / rows["unchanged"] - 1) if in_percent else rows[column] - rows["unchanged"]


@look()
def draw_echo(contest: Contest) -> Figure:
    """How the forecasts' moves go with the true moves of then and before; an echo peaks one step late."""
    evaluation = contest.evaluation
    figure = new_figure(11.0, 3.6)
    axes = figure.subplots()
    chosen = {evaluation["best_by_validation"]: BLUE}
    if evaluation["best_baseline"]:
        chosen[evaluation["best_baseline"]] = ORANGE
    others = [name for name in contest.competitors if name not in chosen]
    for number, name in enumerate(others):
        label = "all others" if number == 0 else None
        _draw_correlations(
            axes, evaluation["judgements"][name]["echo"], color=GREY, linewidth=0.8, alpha=0.6, label=label
        )
    _draw_correlations(
        axes, evaluation["persistence_echo"], color=BLACK, linestyle="--", marker="s", markersize=4, label=PERSISTENCE
    )
    for name, color in chosen.items():
        kind = "best baseline" if contest.competitors[name].is_baseline else "chosen network"
        _draw_correlations(
            axes,
            evaluation["judgements"][name]["echo"],
            color=color,
            marker="o",
            markersize=5,
            linewidth=1.8,
            label=f"{name} ({kind})",
        )
    axes.axhline(0, color=BLACK, linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    step = "one bar" if evaluation["horizon"] == 1 else f"{evaluation['horizon']} bars each"
    axes.set(
        title=f"{contest.dataset}: whose move does the forecast follow?",
        xlabel=f"lag of the true move ({step}): 0 is the move being forecast, 1 the move just seen",
        ylabel="correlation of moves",
    )
    axes.legend(loc="upper right", fontsize=9)
    return figure


def _draw_correlations(axes: Axes, echo: dict[str, Any], **style: Any) -> None:
    values = [np.nan if value is None else value for value in echo["correlations"]]
    axes.plot(range(len(values)), values, **style)


def _break_at_holes(rows: pd.DataFrame) -> pd.DataFrame:
    """Add an empty row in every hole, so no line is drawn across it.

    Exchanges close for up to 4 days round a weekend, so for daily bars a hole starts at 5 usual steps.
    """
    step = rows["time"].diff()
    after = rows.loc[step > 5 * step.median(), "time"]
    return pd.concat([rows, pd.DataFrame({"time": after - step.median()})]).sort_values("time", ignore_index=True)
