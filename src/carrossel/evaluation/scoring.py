"""Score every competitor of a dataset beside persistence, on the very same rows."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from carrossel.errors import ModelError
from carrossel.evaluation.baselines import PERSISTENCE, forecast_persistence
from carrossel.evaluation.competitors import SPLITS, Competitor
from carrossel.evaluation.metrics import METRICS, count_moves, score
from carrossel.evaluation.verdicts import describe_dataset, describe_registration, describe_skill

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def evaluate(dataset: str, competitors: Sequence[Competitor]) -> dict[str, Any]:
    """Everything `reports/evaluation/D.json` holds: plain data, the same for the same inputs.

    Args:
        dataset: its name in params.yaml.
        competitors: as `read_competitors` returns them: checked to have the same rows.

    Returns:
        `rows.<split>.<competitor>.<metric>` with a row `persistence`; `n.<split>` rows; `moves.<split>`, shares of up,
        down and still; `naive_error` (price units); `best_by_validation`: highest skill there, ties by name;
        `beats_persistence_on_test`: whether that one does; `winners_on_test`: all that do; `alias`: what the rule
        gives; `verdict`, `verdicts.<competitor>`, `registration`: sentences; `competitors.<competitor>`: provenance.

    Raises:
        ModelError: if skill is undefined; the message names dataset and part.
    """
    first = competitors[0]
    manifest = first.manifest
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for split in SPLITS:
        part = first.rows(split)
        asked = {PERSISTENCE: forecast_persistence(part), **{c.name: c.rows(split)["forecast"] for c in competitors}}
        with _naming(dataset, split):
            rows[split] = {
                name: score(part["truth"], forecast, part["last_close"], manifest.train_mae_naive)
                for name, forecast in asked.items()
            }
    skills = {c.name: rows["test"][c.name]["skill"] for c in competitors}
    best = max(sorted(skills), key=lambda name: rows["validation"][name]["skill"])
    revisions = sorted({c.manifest.code_revision for c in competitors})
    return {
        "dataset": dataset,
        "interval": name_interval(first.rows("test")["origin"]),
        "horizon": manifest.windows["horizon"],
        "lookback": manifest.windows["lookback"],
        "target": manifest.target["kind"],
        "split": manifest.split,
        "data_sha256": manifest.data_sha256,
        "code_revision": ", ".join(revisions),
        "n": {split: len(first.rows(split)) for split in SPLITS},
        "moves": {split: count_moves(first.rows(split)["truth"], first.rows(split)["last_close"]) for split in SPLITS},
        "naive_error": manifest.train_mae_naive,
        "rows": rows,
        "best_by_validation": best,
        "beats_persistence_on_test": skills[best] > 0,
        "winners_on_test": sorted(name for name, skill in skills.items() if skill > 0),
        "alias": "champion" if skills[best] > 0 else "challenger",
        "verdict": describe_dataset(dataset, skills, best),
        "verdicts": {name: describe_skill(skill) for name, skill in skills.items()},
        "registration": describe_registration(best, skills[best]),
        "competitors": {c.name: _provenance(c) for c in competitors},
    }


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
