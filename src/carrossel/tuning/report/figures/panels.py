"""What the panels of all figures share: the axis of skills, marks below its edge, one legend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from carrossel.evaluation.comparison.figures import label_skill
from carrossel.evaluation.figures import BLACK
from carrossel.tuning.report.findings import fence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

NO_COMPLETE = "no trial is complete"
SKILL = "validation skill"


def limit_skill(axes: Axes, values: Iterable[float]) -> float:
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


def mark_below(axes: Axes, across: Sequence[float] | NDArray[np.float64]) -> None:
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


def fade(lines: int) -> float:
    """How opaque lines are: the more, the less."""
    return min(0.8, max(0.2, 40 / lines))


def explain(figure: Figure, panels: Iterable[Axes]) -> None:
    """One legend for all panels."""
    seen: dict[str, Any] = {}
    for axes in panels:
        handles, names = axes.get_legend_handles_labels()
        for handle, name in zip(handles, names, strict=True):
            seen.setdefault(name, handle)
    if seen:
        figure.legend(seen.values(), seen, loc="outside lower center", ncols=6, fontsize=9)
