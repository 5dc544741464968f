"""Score every competitor of a dataset beside persistence, on the very same rows."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from carrossel.errors import ModelError
from carrossel.evaluation.bands import judge_bands
from carrossel.evaluation.competitors import SPLITS, Competitor
from carrossel.evaluation.echo import find_echo
from carrossel.evaluation.judgement import judge_horizons
from carrossel.evaluation.metrics import METRICS, PERSISTENCE, count_moves, score
from carrossel.evaluation.significance import diebold_mariano
from carrossel.evaluation.verdicts import describe_dataset, describe_judgement, describe_registration
from carrossel.evaluation.walk_forward.results import judge_walk_forward

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from carrossel.evaluation.walk_forward.rows import WalkForward


def evaluate(
    dataset: str, competitors: Sequence[Competitor], walk_forward: Mapping[int, WalkForward] | None = None
) -> dict[str, Any]:
    """Everything `reports/evaluation/D.json` holds: plain data, the same for the same inputs.

    Args:
        dataset: its name in params.yaml.
        competitors: as `read_competitors` returns them: checked to have the same rows.
        walk_forward: as `read_walk_forward` returns it, if the dataset was walked through.

    Returns:
        `rows.<split>.<competitor>.<metric>` of the nearest horizon, with a row `persistence`; `n.<split>` rows;
        `moves.<split>`, shares of up, down and still; `naive_error` (in `unit`); `judgements.<competitor>`: see
        `judgement.Judgement`; `persistence_echo`: persistence's own, beside which others are shown, None for probabilities;
        `bands.<competitor>`: see `bands.judge_bands`, of those that forecast quantiles;
        `skill_by_horizon.<horizon>.<competitor>` on test and `verdict_by_horizon` likewise; `best_by_validation`: the
        network of highest skill there, ties by name; `best_baseline`: the baseline likewise, None if there is none;
        `against_baseline`: the one tested against the
        other on test; `winners_on_test`: all whose verdict is 'beats persistence'; `beats_persistence_on_test`: whether the
        best by validation is among them; `alias`: what the rule gives; `verdict`, `verdicts.<competitor>`, `registration`:
        sentences; `competitors.<competitor>`: provenance; `walk_forward`, if there is one: see
        `walk_forward.results.judge_walk_forward`.

    Raises:
        ModelError: if skill is undefined or there is no network; the message names dataset and part.
    """
    first = competitors[0]
    manifest = first.manifest
    networks = [c for c in competitors if not c.is_baseline]
    if not networks:
        raise ModelError(f"{dataset}: there are baselines and no network. Train one: dvc repro evaluate@{dataset}.")
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for split in SPLITS:
        part = first.rows(split)
        asked = {PERSISTENCE: part["unchanged"], **{c.name: c.rows(split)["forecast"] for c in competitors}}
        with _naming(dataset, split):
            rows[split] = {
                name: score(part["truth"], forecast, part["unchanged"], manifest.train_mae_naive, manifest.unit)
                for name, forecast in asked.items()
            }
    with _naming(dataset, "test"):
        by_horizon = judge_horizons(
            {horizon: {c.name: c.rows("test", horizon) for c in competitors} for horizon in first.horizons},
            manifest.unit,
        )
    judgements = by_horizon[first.horizons[0]]
    best = _best(networks, rows["validation"])
    baselines = [c for c in competitors if c.is_baseline]
    best_baseline = _best(baselines, rows["validation"]) if baselines else None
    against = _compare(competitors, best, best_baseline) if best_baseline else None
    winners = sorted(name for name, found in judgements.items() if found.verdict == "beats persistence")
    evaluation = {
        "dataset": dataset,
        "interval": name_interval(first.rows("test")["origin"]),
        "horizon": first.horizons[0],
        "lookback": manifest.windows["lookback"],
        "target": manifest.target["kind"],
        "unit": manifest.unit,
        "split": manifest.split,
        "data_sha256": manifest.data_sha256,
        "code_revision": ", ".join(sorted({c.manifest.code_revision for c in competitors})),
        "n": {split: len(first.rows(split)) for split in SPLITS},
        "moves": {split: count_moves(first.rows(split)["truth"], first.rows(split)["unchanged"]) for split in SPLITS},
        "naive_error": manifest.train_mae_naive,
        "rows": rows,
        "skill_by_horizon": {str(h): {name: j.skill for name, j in found.items()} for h, found in by_horizon.items()},
        "verdict_by_horizon": {
            str(h): {name: j.verdict for name, j in found.items()} for h, found in by_horizon.items()
        },
        "judgements": {name: found.as_dict() for name, found in judgements.items()},
        "persistence_echo": None if manifest.unit == "probability" else _echo_of_persistence(first),
        "bands": {c.name: _judge_bands(c) for c in competitors if c.quantiles},
        "best_by_validation": best,
        "best_baseline": best_baseline,
        "against_baseline": against,
        "beats_persistence_on_test": best in winners,
        "winners_on_test": winners,
        "alias": "champion" if best in winners else "challenger",
        "verdict": describe_dataset(dataset, judgements, best, best_baseline, against),
        "verdicts": {name: describe_judgement(found) for name, found in judgements.items()},
        "registration": describe_registration(best, judgements[best]),
        "competitors": {c.name: _provenance(c) for c in competitors},
    }
    if walk_forward:
        with _naming(dataset, "walk-forward"):
            evaluation["walk_forward"] = judge_walk_forward(walk_forward, manifest.unit)
    return evaluation


def _best(competitors: Sequence[Competitor], validation: Mapping[str, Mapping[str, float]]) -> str:
    return max(sorted(c.name for c in competitors), key=lambda name: validation[name]["skill"])


def _compare(competitors: Sequence[Competitor], best: str, baseline: str) -> dict[str, float]:
    """The chosen network's test losses against the chosen baseline's: `gain` is 1 − MSE / MSE of the baseline, `p` two-sided."""
    parts = {c.name: c.rows("test") for c in competitors if c.name in {best, baseline}}
    loss, reference = ((parts[name]["truth"] - parts[name]["forecast"]) ** 2 for name in (best, baseline))
    horizon = int(parts[best]["horizon"].iloc[0])
    test = diebold_mariano(loss - reference, horizon)
    return {"gain": float(1 - loss.mean() / reference.mean()), "p": test.p_two_sided}


def _echo_of_persistence(competitor: Competitor) -> dict[str, Any]:
    rows = competitor.rows("test")
    return asdict(find_echo(rows.assign(forecast=rows["unchanged"]), horizon=competitor.horizons[0]))


def _judge_bands(competitor: Competitor) -> dict[str, Any]:
    rows = competitor.rows("test")
    return judge_bands(rows["truth"], {level: rows[c] for level, c in competitor.quantiles.items()})


def tabulate(evaluation: dict[str, Any]) -> pd.DataFrame:
    """`reports/evaluation/D.csv`: one row per part and competitor, one column per metric; empty where a metric isn't defined."""
    records = [
        {"dataset": evaluation["dataset"], "split": split, "competitor": name, "n": evaluation["n"][split], **metrics}
        for split, competitors in evaluation["rows"].items()
        for name, metrics in competitors.items()
    ]
    return pd.DataFrame.from_records(records, columns=["dataset", "split", "competitor", "n", *METRICS])


def name_interval(timestamps: pd.Series) -> str:
    """The usual distance of two bars: `1d`, `4h`, `15min`."""
    step = pd.Timedelta(timestamps.diff().median())
    for unit, name in (("1D", "d"), ("1h", "h"), ("1min", "min")):
        if step % pd.Timedelta(unit) == pd.Timedelta(0):
            return f"{step // pd.Timedelta(unit)}{name}"
    return f"{step.total_seconds():g}s"


def _provenance(competitor: Competitor) -> dict[str, Any]:
    manifest = competitor.manifest
    return {
        "cell": manifest.cell,
        "baseline": manifest.baseline,
        "parameters": manifest.parameters,
        "epochs": len(competitor.history),
        "best_epoch": manifest.best_epoch,
        "windows": manifest.windows,
        "target": manifest.target,
        "training": manifest.training,
        "code_revision": manifest.code_revision,
    }


@contextmanager
def _naming(dataset: str, split: str) -> Iterator[None]:
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{dataset}, {split}: {error}") from None
