"""From a walk-forward's rows to the plain numbers that the report shows."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from carrossel.evaluation.bands import judge_bands
from carrossel.evaluation.calibration import conformal_intervals, coverage, coverage_by_fold
from carrossel.evaluation.judgement import SEED, judge
from carrossel.evaluation.metrics import PERSISTENCE
from carrossel.evaluation.significance import model_confidence_set, superior_predictive_ability

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carrossel.evaluation.walk_forward.rows import WalkForward
    from carrossel.targets.base import Unit

NOMINAL = 0.9
"""Share of truths that the conformal intervals should hold."""

_CONFORMAL: dict[str, dict[str, Any]] = {
    "split": {"gamma": 0.0, "window": None, "normalised": False},
    "adaptive": {},
}


def judge_walk_forward(by_horizon: Mapping[int, WalkForward], unit: Unit) -> dict[str, Any]:
    """Everything the key `walk_forward` of `reports/evaluation/D.json` holds.

    All but `skill_by_horizon` is of the nearest horizon. A model called `persistence` is left out, since persistence is
    what the others are measured against; it takes part in the confidence set.

    Args:
        by_horizon: as `read_walk_forward` returns them.
        unit: of truth and forecast.

    Returns:
        `horizon`; `n` rows; `folds`: number, first and last origin and rows of each. `models.<model>`: `skills` by seed,
        their `mean_skill` and `spread` (standard deviation; None for one seed); `judgement` of the forecast averaged over
        the seeds on all rows, see `judgement.Judgement`; its `skill_by_fold` (None where persistence makes no error) and
        `skill_by_horizon`; `confidence_set_p` and `in_confidence_set`; `conformal.<split | adaptive>`: `coverage`,
        `by_fold` and `mean_width` of nominal 90 % intervals, None for probabilities, whose truth is 0 or 1; `bands`: see
        `bands.judge_bands`, None without quantiles. `persistence`: its place in the confidence set.
        `superior_predictive_ability`: see `significance.SuperiorPredictiveAbility`.

    Raises:
        ModelError: if persistence makes no error at all or there are too few rows.
    """
    horizon = min(by_horizon)
    nearest = by_horizon[horizon]
    averaged = {name: nearest.average(name) for name in nearest.forecasts if name != PERSISTENCE}
    judgements = judge(averaged, unit, horizon)
    losses = pd.DataFrame({name: (rows["truth"] - rows["forecast"]) ** 2 for name, rows in averaged.items()})
    reference = (nearest.asked["truth"] - nearest.asked["unchanged"]) ** 2
    best = model_confidence_set(losses.assign(**{PERSISTENCE: reference}), seed=SEED, horizon=horizon)
    superior = superior_predictive_ability(reference, losses, seed=SEED, horizon=horizon)
    return {
        "horizon": horizon,
        "n": len(nearest.asked),
        "nominal": NOMINAL,
        "folds": [_describe_fold(part) for _, part in nearest.asked.groupby("fold")],
        "models": {
            name: {
                **_judge_seeds(nearest, name),
                "judgement": judgements[name].as_dict(),
                "skill_by_fold": {str(fold): _skill(part) for fold, part in rows.groupby("fold")},
                "skill_by_horizon": {str(h): _skill(part.average(name)) for h, part in by_horizon.items()},
                "confidence_set_p": best.p_values[name],
                "in_confidence_set": name in best.included,
                "conformal": None if unit == "probability" else _calibrate(rows),
                "bands": judge_bands(rows["truth"], nearest.quantiles[name]) if name in nearest.quantiles else None,
            }
            for name, rows in averaged.items()
        },
        "persistence": {
            "confidence_set_p": best.p_values[PERSISTENCE],
            "in_confidence_set": PERSISTENCE in best.included,
        },
        "superior_predictive_ability": asdict(superior),
    }


def _describe_fold(rows: pd.DataFrame) -> dict[str, Any]:
    first, last = rows["origin"].iloc[0], rows["origin"].iloc[-1]
    return {"fold": int(rows["fold"].iloc[0]), "first": first.isoformat(), "last": last.isoformat(), "n": len(rows)}


def _judge_seeds(walk: WalkForward, name: str) -> dict[str, Any]:
    skills = {
        str(seed): _skill(walk.asked.assign(forecast=forecast)) for seed, forecast in walk.forecasts[name].items()
    }
    series = pd.Series(skills, dtype=float)
    return {
        "skills": skills,
        "mean_skill": float(series.mean()),
        "spread": float(series.std(ddof=1)) if len(series) > 1 else None,
    }


def _skill(rows: pd.DataFrame) -> float | None:
    persistence = ((rows["truth"] - rows["unchanged"]) ** 2).sum()
    if persistence == 0:
        return None
    return float(1 - ((rows["truth"] - rows["forecast"]) ** 2).sum() / persistence)


def _calibrate(rows: pd.DataFrame) -> dict[str, Any]:
    found = {}
    for kind, settings in _CONFORMAL.items():
        intervals = conformal_intervals(rows, level=NOMINAL, **settings)
        lower, upper = intervals["lower"], intervals["upper"]
        width = (upper - lower).mean()
        found[kind] = {
            "coverage": coverage(rows["truth"], lower, upper),
            "by_fold": coverage_by_fold(rows["truth"], lower, upper, rows["fold"]),
            "mean_width": None if pd.isna(width) else float(width),
        }
    return found
