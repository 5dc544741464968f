"""The report: one HTML file that needs nothing else, for a reader who hasn't seen the project."""

from __future__ import annotations

import base64
from importlib import resources
from math import floor, log10
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from carrossel.evaluation.baselines import PERSISTENCE
from carrossel.evaluation.comparison.figures import (
    draw_forecast,
    draw_gradients,
    draw_learning,
    draw_skill,
)
from carrossel.evaluation.competitors import SPLITS
from carrossel.evaluation.figures import render_svg
from carrossel.evaluation.verdicts import CAVEAT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.figure import Figure

    from carrossel.evaluation.comparison.contest import Contest

_DIGITS = 5
_DASH = "–"


def render_report(contests: Sequence[Contest]) -> str:
    """The whole page as HTML; the same for the same inputs."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["curly"] = lambda text: text.replace("'tomorrow = today'", "“tomorrow = today”")
    template = environment.from_string(
        resources.files("carrossel.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    )
    return template.render(
        caveat=CAVEAT,
        skill_figure=_embed(draw_skill(contests)),
        datasets=[_describe(contest) for contest in contests],
    )


def _describe(contest: Contest) -> dict[str, Any]:
    evaluation = contest.evaluation
    return {
        "name": contest.dataset,
        "evaluation": evaluation,
        "table": tabulate_scores(contest),
        "settled_direction": _settle_direction(evaluation["moves"]["test"]),
        "forecast_figure": _embed(draw_forecast(contest)),
        "gradient_figures": {when: _embed(figure) for when, figure in draw_gradients(contest).items()},
        "learning_figure": _embed(draw_learning(contest)),
        "quality": summarise_quality(contest.quality),
        "spans": [
            (part, span["first"][:10], span["last"][:10], span["windows"]) for part, span in _in_time(evaluation)
        ],
        "settings": _common_settings(contest),
        "competitors": [
            (
                name,
                entry["cell"]["kind"],
                _list_settings(entry["cell"].get("config", {})),
                f"{entry['parameters']:,}",
                entry["training"].get("seed", _DASH),
                f"{entry['best_epoch']} of 0–{entry['epochs'] - 1}",
                entry["code_revision"][:12] + ("-dirty" if entry["code_revision"].endswith("-dirty") else ""),
            )
            for name, entry in evaluation["competitors"].items()
        ],
    }


def tabulate_scores(contest: Contest) -> list[dict[str, Any]]:
    """Rows of the table of metrics as text: persistence first, then by skill on validation."""
    evaluation = contest.evaluation
    validation, test = (evaluation["rows"][split] for split in SPLITS)
    names = [PERSISTENCE, *sorted(contest.competitors, key=lambda name: (-validation[name]["skill"], name))]
    decimals = {metric: _choose_decimals(test[name][metric] for name in names) for metric in ("rmse", "mae")}
    return [
        {
            "name": name,
            "baseline": name == PERSISTENCE,
            "best": name == evaluation["best_by_validation"],
            "beats": test[name]["skill"] > 0,
            "verdict": evaluation["verdicts"].get(name, "the forecast every other is measured against"),
            "validation_skill": _percent(validation[name].get("skill"), 2, sign=True),
            "skill": _percent(test[name].get("skill"), 2, sign=True),
            "rmse": _number(test[name].get("rmse"), decimals["rmse"]),
            "mae": _number(test[name].get("mae"), decimals["mae"]),
            "mase": _number(test[name].get("mase"), 3),
            "directional_accuracy": _percent(test[name].get("directional_accuracy"), 1),
            "change_correlation": _number(test[name].get("change_correlation"), 3, sign=True),
            "r2": _number(test[name].get("r2"), 4),
        }
        for name in names
    ]


def summarise_quality(quality: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a reader of the report must know about the bars; the quality page has the rest.

    Args:
        quality: the quality report, or nothing.
    """
    if not quality:
        return []
    bars, gaps, source = quality["bars"], quality["gaps"], quality["source"]
    pairs = [
        (
            "bars",
            f"{bars['rows']:,} from {bars['first']} to {bars['last']} UTC, every {bars['interval']} ({quality['calendar']})",
        ),
        ("gaps", f"{gaps['count']:,}: {bars['missing']:,} bars missing, {bars['filled']:,} filled with the last close"),
        *[_tell_finding(item) for item in quality["findings"] if item["count"]],
    ]
    return pairs + [(key, str(source[key])) for key in ("origin", "licence", "path", "sha256") if source.get(key)]


def _tell_finding(finding: Mapping[str, Any]) -> tuple[str, str]:
    name = finding.get("title") or finding.get("check") or "finding"
    repair = f", {finding['repair']}" if finding.get("repair") else ""
    return str(name), f"{finding['count']:,}{repair}"


def _embed(figure: Figure) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(render_svg(figure)).decode("ascii")


def _in_time(evaluation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(evaluation["split"].items(), key=lambda item: str(item[1]["first"]))


def _common_settings(contest: Contest) -> list[tuple[str, str]]:
    """Settings of each section, as all competitors share them; where they differ, every value."""
    entries = list(contest.evaluation["competitors"].values())
    pairs = []
    for section in ("windows", "target", "training"):
        for key in entries[0][section]:
            seen = dict.fromkeys(_show(entry[section].get(key)) for entry in entries)
            pairs.append((f"{section}.{key}", " / ".join(seen)))
    return pairs


def _list_settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_show(value)}" for key, value in values.items())


def _show(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _settle_direction(moves: Mapping[str, float]) -> str:
    """Accuracy of always naming the more common direction, as text."""
    return _percent(max(moves["up"], moves["down"]) / (moves["up"] + moves["down"]), 1)


def _choose_decimals(values: Iterable[float]) -> int:
    """Decimals that give the largest value five digits: enough to tell competitors apart."""
    largest = max(abs(value) for value in values)
    return max(0, _DIGITS - 1 - floor(log10(largest))) if largest > 0 else 0


def _number(value: float | None, decimals: int, *, sign: bool = False) -> str:
    if value is None:
        return _DASH
    return f"{value:{'+' if sign else ''}z,.{decimals}f}".replace("-", "−")


def _percent(value: float | None, decimals: int, *, sign: bool = False) -> str:
    if value is None:
        return _DASH
    if sign and value == 0:
        return "0 %"
    return _number(100 * value, decimals, sign=sign) + " %"
