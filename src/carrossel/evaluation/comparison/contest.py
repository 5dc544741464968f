"""One dataset's evaluation together with the trained models it is about."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carrossel.errors import ModelError
from carrossel.evaluation.comparison.lab.memories import Memory, read_memory
from carrossel.evaluation.competitors import Competitor, read_competitors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from carrossel.targets.base import Unit


@dataclass(frozen=True)
class Contest:
    """Everything `compare` knows of one dataset.

    Attributes:
        evaluation: as `scoring.evaluate` returns it.
        competitors: by name, in the order of every table and figure.
        quality: the quality report of the bars; empty if there is none.
        memories: what was measured inside of each network.
    """

    dataset: str
    evaluation: dict[str, Any]
    competitors: dict[str, Competitor]
    quality: dict[str, Any] = field(default_factory=dict)
    memories: dict[str, Memory] = field(default_factory=dict)

    @property
    def unit(self) -> Unit:
        """What forecasts are judged in."""
        unit: Unit = self.evaluation["unit"]
        return unit

    @property
    def networks(self) -> dict[str, Competitor]:
        """Recurrent cells: those that may be registered."""
        return {name: c for name, c in self.competitors.items() if not c.is_baseline}

    @property
    def baselines(self) -> dict[str, Competitor]:
        """Those that show what other methods do on the same rows."""
        return {name: c for name, c in self.competitors.items() if c.is_baseline}

    def skill(self, split: str) -> dict[str, float]:
        """Skill against persistence by competitor."""
        rows: Mapping[str, Mapping[str, float]] = self.evaluation["rows"][split]
        return {name: rows[name]["skill"] for name in self.competitors}


def read_contest(dataset: str, models: Path, reports: Path, names: Collection[str] | None = None) -> Contest:
    """Read `reports/evaluation/D.json`, `reports/quality/D.json` and `models/D/`.

    Args:
        dataset: its name in params.yaml.
        models: folder of all datasets' models.
        reports: folder of all datasets' reports.
        names: who competes; see `read_competitors`.

    Raises:
        ModelError: if the evaluation is missing, broken or about other models than the ones there.
    """
    competitors = {c.name: c for c in read_competitors(models / dataset, names)}
    path = reports / "evaluation" / f"{dataset}.json"
    again = f"Run dvc repro evaluate@{dataset}."
    try:
        evaluation = json.loads(path.read_text(encoding="utf-8"))
        scored = set(evaluation["judgements"])
    except FileNotFoundError:
        raise ModelError(f"{path} doesn't exist. {again}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} isn't an evaluation ({error!r}). {again}") from None
    if scored != set(competitors):
        differing = ", ".join(sorted(scored ^ set(competitors)))
        raise ModelError(f"{path} and {models / dataset} don't name the same competitors ({differing}). {again}")
    memories = {
        name: read_memory(models / dataset / name, competitor.manifest.best_epoch)
        for name, competitor in competitors.items()
        if not competitor.is_baseline
    }
    return Contest(dataset, evaluation, competitors, _read_quality(reports / "quality" / f"{dataset}.json"), memories)


def _read_quality(path: Path) -> dict[str, Any]:
    try:
        quality = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ModelError(f"{path} isn't JSON ({error}). Run dvc repro prepare@{path.parent.name}.") from None
    return quality if isinstance(quality, dict) else {}
