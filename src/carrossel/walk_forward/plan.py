"""The whole of a walk-forward besides its bars."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carrossel.config import lookup_for, validate
from carrossel.errors import ConfigError
from carrossel.targets.base import make_target, read_target
from carrossel.walk_forward.config import FOLD_KEYS, WalkForward
from carrossel.walk_forward.models import Model, read_models
from carrossel.windows.config import Windows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carrossel.targets.base import TargetConfig


@dataclass(frozen=True)
class Task:
    """One fit: a model, a seed, a fold (counted from 0)."""

    model: Model
    seed: int
    fold: int

    def __str__(self) -> str:
        return f"{self.model.name} seed {self.seed} fold {self.fold}"


@dataclass(frozen=True)
class Plan:
    """What to refit on which folds.

    Args:
        left_out: baselines that were asked for and can't answer the target's unit.
    """

    dataset: str
    windows: Windows
    target: TargetConfig
    config: WalkForward
    models: tuple[Model, ...]
    left_out: tuple[str, ...] = ()

    def tasks(self, folds: int) -> Iterator[Task]:
        """Every task, in the order of the final table."""
        for model in self.models:
            for seed in range(1, (self.config.seeds if model.needs_seed else 1) + 1):
                for fold in range(folds):
                    yield Task(model, seed, fold)

    def fingerprint(self, model: Model, data_sha256: str, code: str) -> str:
        """What a model's finished parts belong to: they may be kept for the same model, folds, data and code alone.

        Which other models there are, how many seeds, and where tasks run decides nothing about a part.

        Args:
            code: digest of the source that tasks run through.
        """
        values = [
            self.dataset,
            self.windows.model_dump(mode="json"),
            self.target.model_dump(mode="json"),
            self.config.model_dump(mode="json", include=FOLD_KEYS),
            model.as_dict(),
            data_sha256,
            code,
        ]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_plan(dataset: str, params: dict[str, Any]) -> Plan:
    """What params.yaml asks for.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    config = validate(lookup_for(dataset, "walk_forward", params), WalkForward, "walk_forward")
    target = read_target(lookup_for(dataset, "target", params))
    unit = make_target(target).unit
    models, left_out = read_models(dataset, config.models, config.epochs, unit, params)
    if not models:
        raise ConfigError(
            f"walk_forward.models = {', '.join(config.models)}: none of them answers target {target.kind} of {dataset}."
        )
    return Plan(
        dataset=dataset,
        windows=validate(lookup_for(dataset, "windows", params), Windows, "windows"),
        target=target,
        config=config,
        models=models,
        left_out=left_out,
    )
