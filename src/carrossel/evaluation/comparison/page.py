"""The report: one HTML file that needs nothing else, for a reader who hasn't seen the project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrossel.evaluation.comparison.figures import draw_gradients, draw_learning, draw_skill
from carrossel.evaluation.comparison.forecasts.figures import draw_echo, draw_forecast
from carrossel.evaluation.comparison.formats import DASH, percent
from carrossel.evaluation.comparison.lab.figures import draw_lab
from carrossel.evaluation.comparison.lab.sentences import tell_gates, tell_gradient, tell_kept, tell_sensitivity
from carrossel.evaluation.comparison.lab.tables import tabulate_memories
from carrossel.evaluation.comparison.tables import tabulate_horizons, tabulate_scores, tabulate_walk_forward
from carrossel.evaluation.figures import render_svg
from carrossel.evaluation.layout import embed, render_html
from carrossel.evaluation.verdicts import format_p
from carrossel.evaluation.walk_forward.figures import draw_coverage_by_fold, draw_skill_by_fold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from carrossel.evaluation.comparison.contest import Contest
    from carrossel.targets.base import Unit

_ASKED: dict[Unit, str] = {
    "price": "the close of the bar {ahead}",
    "log_variance": "the logarithm of the {variance}",
    "probability": "the probability that the bar {ahead} closes higher",
}
_UNCHANGED: dict[Unit, str] = {
    "price": "the close stays where it is",
    "log_variance": "the variance stays what it was over as many bars before",
    "probability": "up is as likely as not (50 %)",
}


def render_report(contests: Sequence[Contest]) -> str:
    """The whole page as HTML; the same for the same inputs."""
    return render_html(
        "carrossel.evaluation",
        "report.html",
        skill_figure=_embed(draw_skill(contests)),
        datasets=[_describe(contest) for contest in contests],
    )


def _describe(contest: Contest) -> dict[str, Any]:
    evaluation = contest.evaluation
    return {
        "name": contest.dataset,
        "evaluation": evaluation,
        "unit": contest.unit,
        "asked": _name_question(evaluation, contest.unit),
        "unchanged": _UNCHANGED[contest.unit],
        "tried": len(evaluation["judgements"]),
        "baselines": len(contest.baselines),
        "table": tabulate_scores(contest),
        "horizons": tabulate_horizons(contest),
        "settled_direction": _settle_direction(evaluation["moves"]["test"]),
        "forecast_figure": _embed(draw_forecast(contest)),
        "echo_figure": _embed(draw_echo(contest)) if evaluation["persistence_echo"] else None,
        "walk_forward": _describe_walk_forward(contest) if "walk_forward" in evaluation else None,
        "gradient_figures": {when: _embed(figure) for when, figure in draw_gradients(contest).items()},
        "lab": _describe_lab(contest),
        "learning_figure": _embed(draw_learning(contest)),
        "quality": summarise_quality(contest.quality),
        "spans": [
            (part, span["first"][:10], span["last"][:10], span["windows"]) for part, span in _in_time(evaluation)
        ],
        "settings": _common_settings(contest),
        "networks": [
            (
                name,
                entry["cell"]["kind"],
                _list_settings(entry["cell"].get("config", {})),
                f"{entry['parameters']:,}",
                entry["training"].get("seed", DASH),
                f"{entry['best_epoch']} of 0–{entry['epochs'] - 1}",
                _shorten(entry["code_revision"]),
            )
            for name, entry in _provenance(contest, contest.networks)
        ],
        "baseline_settings": [
            (name, _list_settings(entry["baseline"].get("config", {})) or DASH, _shorten(entry["code_revision"]))
            for name, entry in _provenance(contest, contest.baselines)
        ],
    }


def _provenance(contest: Contest, names: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, contest.evaluation["competitors"][name]) for name in names]


def _shorten(revision: str) -> str:
    return revision[:12] + ("-dirty" if revision.endswith("-dirty") else "")


def _name_question(evaluation: Mapping[str, Any], unit: Unit) -> str:
    horizon = evaluation["horizon"]
    ahead = "after the window" if horizon == 1 else f"{horizon} bars after the window"
    variance = "next bar's variance" if horizon == 1 else f"mean variance of the next {horizon} bars"
    return _ASKED[unit].format(ahead=ahead, variance=variance)


def _describe_walk_forward(contest: Contest) -> dict[str, Any]:
    walk = contest.evaluation["walk_forward"]
    models, superior, folds = walk["models"], walk["superior_predictive_ability"], walk["folds"]
    coverage = draw_coverage_by_fold(contest)
    return {
        "table": tabulate_walk_forward(contest),
        "rows": walk["n"],
        "folds": len(folds),
        "first": folds[0]["first"][:10],
        "last": folds[-1]["last"][:10],
        "seeds": max(len(model["skills"]) for model in models.values()),
        "nominal": percent(walk["nominal"], 0),
        "conformal": coverage is not None,
        "bands": any(model["bands"] for model in models.values()),
        "persistence_in_confidence_set": walk["persistence"]["in_confidence_set"],
        "superior_p": _tell_bootstrapped(superior["p"]),
        "superior_best": superior["best"],
        "skill_figure": _embed(draw_skill_by_fold(contest)),
        "coverage_figure": _embed(coverage) if coverage else None,
    }


def _describe_lab(contest: Contest) -> dict[str, Any]:
    """Table, figures and what they say."""
    memories = contest.memories
    return {
        "table": tabulate_memories(memories),
        "figures": {name: _embed(figure) for name, figure in draw_lab(memories, contest.dataset).items()},
        "sentences": {
            "memory": " ".join(filter(None, (tell_gradient(memories), tell_kept(memories)))),
            "listening": tell_sensitivity(memories),
            "gates": tell_gates(memories),
        },
    }


def _tell_bootstrapped(p: float) -> str:
    """A p-value that is a share of 1000 bootstrap samples: 0 of them says no more than less than one in 1000."""
    return format_p(p) if p > 0 else "p < 0.001"


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
    return embed(render_svg(figure), "svg+xml")


def _in_time(evaluation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(evaluation["split"].items(), key=lambda item: str(item[1]["first"]))


def _common_settings(contest: Contest) -> list[tuple[str, str]]:
    """Settings of each section, as all competitors share them; where they differ, every value."""
    everyone = [entry for _, entry in _provenance(contest, contest.competitors)]
    networks = [entry for _, entry in _provenance(contest, contest.networks)]
    pairs = []
    for section, entries in (("windows", everyone), ("target", everyone), ("training", networks)):
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
    return percent(max(moves["up"], moves["down"]) / (moves["up"] + moves["down"]), 1)
