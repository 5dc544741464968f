"""The page: one HTML file that needs nothing else, for a reader who hasn't seen the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carrossel.evaluation.comparison.formats import DASH, number, percent
from carrossel.evaluation.figures import render_png
from carrossel.evaluation.layout import embed, render_html
from carrossel.lab.hochreiter.figures import draw_experiment
from carrossel.lab.page.comparing import Row, compare, pass_exams, relate
from carrossel.lab.page.figures import (
    draw_error,
    draw_kept,
    draw_memory_and_skill,
    draw_saturation,
    draw_sensitivity,
)
from carrossel.lab.page.sentences import (
    format_bars,
    tell_error,
    tell_exams,
    tell_gates,
    tell_powers,
    tell_skill,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from carrossel.lab.page.reading import Findings

_DPI = 120


@dataclass(frozen=True)
class Page:
    """What the stage writes.

    Attributes:
        html: the page, images inlined.
        figures: PNG bytes by file name without suffix.
        headlines: one sentence per question.
    """

    html: str
    figures: dict[str, bytes]
    headlines: list[str]


@dataclass(frozen=True)
class Experiment:
    """Hochreiter's experiment: `table` and `exponents` as its room returns them, and which networks are named."""

    table: pd.DataFrame
    exponents: pd.DataFrame
    shown: Sequence[str]


def render_page(
    findings: Sequence[Findings],
    exams: pd.DataFrame,
    experiment: Experiment,
    exam_figures: Mapping[str, Figure],
    inside: Mapping[str, bytes],
) -> Page:
    """Draw every figure, compute every sentence, put them on the page; the same for the same inputs.

    Args:
        findings: of each dataset, the one that is looked at closely first.
        exams: one row per candidate, exam, length and seed.
        experiment: Hochreiter's.
        exam_figures: drawn by the exams' room, by file name without suffix.
        inside: PNG bytes of looks inside a unit, by name.
    """
    main = findings[0]
    passes = pass_exams(exams)
    trained = {network.name: network.gradient for network in main.networks}
    drawn: dict[str, Figure | None] = {
        "hochreiter": draw_experiment(experiment.table, trained, experiment.shown, main.dataset),
        "error": draw_error(main.networks, main.dataset),
        "kept": draw_kept(main.networks, main.dataset),
        "saturation": draw_saturation(main.networks, main.dataset),
        "sensitivity": draw_sensitivity(main.networks, main.dataset),
        **exam_figures,
    }
    datasets, skill = [], {}
    for found in findings:
        rows = compare(found, passes)
        name = f"memory_and_skill_{found.dataset}"
        drawn[name] = draw_memory_and_skill(rows, found.dataset)
        skill[found.dataset] = tell_skill(rows, relate(rows), found.dataset)
        printed = [_print(row, found) for row in rows]
        datasets.append({"name": found.dataset, "figure": name, "sentences": skill[found.dataset], "rows": printed})
    figures = {name: render_png(figure, _DPI) for name, figure in drawn.items() if figure is not None}
    told = {
        "powers": tell_powers(experiment.table),
        "errors": tell_error(main.networks, main.lookback, main.dataset),
        "gates": tell_gates(main.networks, main.lookback),
        "exams": tell_exams(passes),
    }
    headlines = [told["errors"][0], told["gates"][0], told["exams"][0], *[said[0] for said in skill.values()]]
    html = render_html(
        "carrossel.lab.page",
        "lab.html",
        main=main,
        images={name: embed(png) for name, png in {**figures, **inside}.items()},
        exponents=_tabulate_exponents(experiment.exponents),
        datasets=datasets,
        exam_figures=list(exam_figures),
        inside=list(inside),
        headlines=headlines,
        **told,
    )
    return Page(html, figures, headlines)


def _print(row: Row, found: Findings) -> dict[str, Any]:
    whole = row.memory >= found.lookback
    return {
        "name": row.name,
        "memory": f"{'≥ ' if whole else ''}{row.memory}",
        "half_life": format_bars(row.half_life),
        "per_bar": number(row.per_bar, 3),
        "exams": f"{row.passed} of {row.taken}" if row.taken else DASH,
        "validation": percent(row.validation, 2, sign=True),
        "test": percent(row.test, 2, sign=True),
        "verdict": row.verdict or DASH,
        "word": row.verdict.split(maxsplit=1)[0] if row.verdict else "",
    }


def _tabulate_exponents(table: pd.DataFrame) -> dict[str, Any]:
    """A row per α: α, ln α, the linear network's exponents, then those with tanh."""
    ranks = int(table["rank"].max())
    rows = [
        [
            f"{alpha:g}",
            number(float(own["theory"].iloc[0]), 3),
            *[number(float(value), 3) for value in own.sort_values(["network", "rank"])["exponent"]],
        ]
        for alpha, own in table.groupby("alpha")
    ]
    return {"ranks": ranks, "rows": rows}
