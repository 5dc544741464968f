"""Figures of a study.

Optuna's own, drawn with matplotlib, print names, numbers and legends over one another as soon as there are more than four keys,
and leave pruned trials and rungs out: hence these, from the same data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrossel.tuning.report.figures.trials import draw_history, draw_learning_curves, draw_pareto_front
from carrossel.tuning.report.figures.values import (
    draw_contour,
    draw_importance,
    draw_parallel_coordinates,
    draw_slice,
)
from carrossel.tuning.report.findings import find

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

    from carrossel.tuning.report.findings import Findings


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
