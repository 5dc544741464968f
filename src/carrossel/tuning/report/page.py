"""The page: one HTML file that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrossel.evaluation.layout import embed, render_html
from carrossel.evaluation.verdicts import format_p, format_skill
from carrossel.tuning.report.findings import ENOUGH
from carrossel.tuning.report.sentences import tell_failures, tell_headlines, tell_importance, tell_trials
from carrossel.tuning.report.tables import compare_with_default, format_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carrossel.tuning.report.findings import Findings

_FRONT = 20  # rows; the table of trials has the rest
_P = ("p_better", "p_worse")


def render_page(
    found: Findings,
    images: Mapping[str, bytes],
    missing: Mapping[str, str],
    patch: str,
    set_arguments: str,
    verdict: Mapping[str, Any] | None,
) -> str:
    """The page as HTML; the same for the same inputs.

    Args:
        found: what the study found.
        images: PNG bytes by the figure's name.
        missing: why the other figures can't be drawn.
        patch: the best configuration as YAML.
        set_arguments: the same as arguments of `dvc exp run`, as one would type them.
        verdict: of the best configuration against the default on the test part.
    """
    return render_html(
        "carrossel.tuning.report",
        "study.html",
        name=found.study.study_name,
        dataset=found.about.get("dataset", "?"),
        cell=found.about.get("cell", "?"),
        complete=len(found.complete),
        enough=ENOUGH,
        headlines=tell_headlines(found, verdict),
        sureness=tell_importance(found)[2:],
        trials=tell_trials(found),
        failures=tell_failures(found),
        compared=compare_with_default(found),
        has_best=found.best is not None,
        skills={
            "default": _say_default(found),
            "best": found.best and format_skill(found.best.values[0]),
        },
        verdict=_print_verdict(verdict) if verdict else None,
        objectives=found.objectives,
        front=_print_front(found),
        images={name: embed(png) for name, png in images.items()},
        missing=missing,
        patch=patch,
        set_arguments=set_arguments,
        facts=_print_facts(found),
    )


def _say_default(found: Findings) -> str:
    if found.default_trial:
        return format_skill(found.default_trial.values[0])
    return "pruned" if found.default_pruned else "unknown"


def _print_verdict(verdict: Mapping[str, Any]) -> dict[str, str]:
    return {
        **{name: format_skill(verdict[name]) for name in ("skill_default", "skill_best")},
        **{name: format_p(verdict[name]) for name in _P},
        "rows": f"{verdict['rows']:,}",
    }


def _print_front(found: Findings) -> list[dict[str, Any]]:
    if len(found.objectives) == 1:
        return []
    return [
        {
            "number": trial.number,
            "values": [format_skill(trial.values[0]), *[f"{value:,.0f}" for value in trial.values[1:]]],
            "params": ", ".join(f"{key} = {format_value(value)}" for key, value in trial.params.items()),
        }
        for trial in reversed(found.front)
    ][:_FRONT]


def _print_facts(found: Findings) -> dict[str, str]:
    config = found.config
    named = ("trials", "epochs", "folds", "sampler", "pruner", "prune_after", "startup_trials", "seed")
    return {
        "study": found.study.study_name,
        **{name: str(config[name]) for name in named if name in config},
        "bars, SHA-256": str(found.about.get("data_sha256", "unknown")),
        "code revision": str(found.about.get("code_revision", "unknown")),
    }
