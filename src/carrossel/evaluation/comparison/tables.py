"""Tables of the report as text: which columns make sense for a unit, and how their numbers are printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from carrossel.evaluation.comparison.formats import DASH, choose_decimals, interval, number, p_value, percent
from carrossel.evaluation.competitors import SPLITS
from carrossel.evaluation.metrics import PERSISTENCE
from carrossel.evaluation.verdicts import format_p

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from carrossel.evaluation.comparison.contest import Contest
    from carrossel.targets.base import Unit


@dataclass(frozen=True)
class Metric:
    """One column of the table of scores.

    Attributes:
        key: of `metrics.score`.
        style: `digits`: five for the column's largest number; `percent`; `signed`: three decimals with sign; `p`; or a
            number of decimals.
        squared: whether the square of the metric is shown: Brier is that of a probability's RMSE.
    """

    key: str
    title: str
    style: Literal["digits", "percent", "signed", "p", "3", "4"]
    squared: bool = False


COLUMNS: dict[Unit, tuple[Metric, ...]] = {
    "price": (
        Metric("rmse", "RMSE", "digits"),
        Metric("mae", "MAE", "digits"),
        Metric("mase", "MASE", "3"),
        Metric("directional_accuracy", "direction", "percent"),
        Metric("change_correlation", "corr.", "signed"),
        Metric("r2", "R²", "4"),
    ),
    "log_variance": (
        Metric("rmse", "RMSE", "4"),
        Metric("mae", "MAE", "4"),
        Metric("qlike", "QLIKE", "4"),
        Metric("change_correlation", "corr.", "signed"),
        Metric("r2", "R²", "3"),
    ),
    "probability": (
        Metric("log_loss", "log loss", "4"),
        Metric("rmse", "Brier", "4", squared=True),
        Metric("directional_accuracy", "direction", "percent"),
        Metric("timing_p", "PT p", "p"),
    ),
}

_TESTED = ("beats persistence", "no evidence of skill")  # the verdicts that a p-value decides
_REFERENCE = "what the others are measured against"


def tabulate_scores(contest: Contest) -> dict[str, Any]:
    """The table of scores: persistence first, then networks, then baselines, each by skill on validation.

    Returns:
        `titles` of the metrics; `rows`: name, kind (`reference`, `network` or `baseline`), best, validation_skill, skill,
        interval, beats, metrics (texts in the order of `titles`), verdict, and the sentence behind it.
    """
    evaluation = contest.evaluation
    validation, test = (evaluation["rows"][split] for split in SPLITS)
    columns = COLUMNS[contest.unit]
    names = [PERSISTENCE, *_rank(contest.networks, validation), *_rank(contest.baselines, validation)]
    printed = {column.title: _print_column(column, {name: test[name] for name in names}) for column in columns}
    bands = evaluation["bands"]
    if bands:
        printed["90 % band"] = {
            name: percent(bands[name]["coverage"].get("90"), 1) if name in bands else DASH for name in names
        }
    return {
        "titles": list(printed),
        "rows": [
            {
                "name": name,
                "kind": _name_kind(name, contest),
                "best": name == evaluation["best_by_validation"],
                "validation_skill": percent(validation[name]["skill"], 2, sign=True),
                "skill": percent(test[name]["skill"], 2, sign=True),
                "metrics": [cells[name] for cells in printed.values()],
                **_print_judgement(evaluation["judgements"].get(name)),
                "sentence": evaluation["verdicts"].get(name, _REFERENCE),
            }
            for name in names
        ],
    }


def tabulate_horizons(contest: Contest) -> dict[str, Any] | None:
    """Skill on test by horizon, in the order of the table of scores; None where there is one horizon."""
    by_horizon = dict(sorted(contest.evaluation["skill_by_horizon"].items(), key=lambda item: int(item[0])))
    if len(by_horizon) < 2:  # noqa: PLR2004 - nothing to compare
        return None
    validation = contest.evaluation["rows"]["validation"]
    verdicts = contest.evaluation["verdict_by_horizon"]
    return {
        "horizons": list(by_horizon),
        "rows": [
            {
                "name": name,
                "kind": _name_kind(name, contest),
                "best": name == contest.evaluation["best_by_validation"],
                "skills": [
                    percent(skills[name], 2, sign=True)
                    + (" ✓" if verdicts[horizon][name] == "beats persistence" else "")
                    for horizon, skills in by_horizon.items()
                ],
            }
            for name in [*_rank(contest.networks, validation), *_rank(contest.baselines, validation)]
        ],
    }


def tabulate_walk_forward(contest: Contest) -> list[dict[str, Any]]:
    """Rows of the walk-forward's table: networks, then baselines, each by the skill of the forecast averaged over seeds."""
    models = contest.evaluation["walk_forward"]["models"]
    ranked = sorted(models, key=lambda name: (name in contest.baselines, -models[name]["judgement"]["skill"], name))
    return [
        {
            "name": name,
            "kind": _name_kind(name, contest),
            "best": name == contest.evaluation["best_by_validation"],
            "seeds": len(models[name]["skills"]),
            "mean_skill": percent(models[name]["mean_skill"], 2, sign=True),
            "spread": DASH if models[name]["spread"] is None else f"± {100 * models[name]['spread']:.2f}",
            "skill": percent(models[name]["judgement"]["skill"], 2, sign=True),
            **_print_judgement(models[name]["judgement"]),
            "p": p_value(models[name]["judgement"]["p_corrected"]),
            "in_confidence_set": "yes" if models[name]["in_confidence_set"] else "no",
            "coverage": _print_coverage(models[name]),
        }
        for name in ranked
    ]


def _print_coverage(model: Mapping[str, Any]) -> dict[str, str]:
    conformal = model["conformal"] or {}
    bands = model["bands"] or {}
    return {
        "split": percent(conformal.get("split", {}).get("coverage"), 1),
        "adaptive": percent(conformal.get("adaptive", {}).get("coverage"), 1),
        "own": percent(bands.get("coverage", {}).get("90"), 1),
    }


def _print_judgement(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """The verdict in few words; a p-value where it decides."""
    if found is None:
        return {"interval": DASH, "verdict": DASH, "short": DASH, "word": "reference"}
    verdict = str(found["verdict"])
    return {
        "interval": interval(found["lower"], found["upper"], 2),
        "verdict": f"{verdict} ({format_p(found['p_corrected'])})" if verdict in _TESTED else verdict,
        "short": verdict.split(":", maxsplit=1)[0],
        "word": verdict.split(maxsplit=1)[0],
    }


def _print_column(column: Metric, scores: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    values = {name: row.get(column.key) for name, row in scores.items()}
    if column.squared:
        values = {name: None if value is None else value**2 for name, value in values.items()}
    if column.style == "percent":
        return {name: percent(value, 1) for name, value in values.items()}
    if column.style == "p":
        return {name: p_value(value) for name, value in values.items()}
    if column.style == "signed":
        return {name: number(value, 3, sign=True) for name, value in values.items()}
    known = [value for value in values.values() if value is not None]
    decimals = choose_decimals(known) if column.style == "digits" else int(column.style)
    return {name: number(value, decimals) for name, value in values.items()}


def _rank(names: Iterable[str], validation: Mapping[str, Mapping[str, float]]) -> list[str]:
    return sorted(names, key=lambda name: (-validation[name]["skill"], name))


def _name_kind(name: str, contest: Contest) -> str:
    if name == PERSISTENCE:
        return "reference"
    return "baseline" if name in contest.baselines else "network"
