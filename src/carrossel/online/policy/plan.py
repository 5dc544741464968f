"""The whole of a backtest besides its bars."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carrossel.config import lookup, lookup_for, validate
from carrossel.errors import ConfigError
from carrossel.online.config import Drift, Online, Policy
from carrossel.targets.base import make_target
from carrossel.walk_forward.config import WalkForward
from carrossel.walk_forward.models import Model, read_models
from carrossel.windows.question import Question, read_question

if TYPE_CHECKING:
    from carrossel.targets.base import Unit


@dataclass(frozen=True)
class Plan:
    """Which model is refitted by which policies.

    Args:
        seed: of every fit, as of `train`.
        walk: says where fits run; what it says of folds is left aside.
    """

    dataset: str
    question: Question
    model: Model
    seed: int
    policy: Policy
    drift: Drift
    walk: WalkForward

    @property
    def unit(self) -> Unit:
        """Of truth and forecast."""
        return make_target(self.question.target).unit

    def fingerprint(self, data_sha256: str, code: str) -> str:
        """What finished fits belong to: which policies ask for them decides nothing about a fit.

        Args:
            code: digest of the source that fits run through.
        """
        windows, target = self.question
        values = [
            self.dataset,
            windows.model_dump(mode="json"),
            target.model_dump(mode="json"),
            self.model.as_dict(),
            self.seed,
            data_sha256,
            code,
        ]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_plan(dataset: str, params: dict[str, Any]) -> Plan | None:
    """What params.yaml asks for; None if the model is a baseline that can't answer the dataset's target.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    online = validate(params.get("online"), Online, "online")
    name = online.policy.model
    there = [*(params.get("cells") or {}), *(params.get("baselines") or {})]
    if name not in there:
        raise ConfigError(
            f"online.policy.model = {name!r} is no entry of cells or baselines: take one of {', '.join(there)}."
        )
    question = read_question(dataset, params)
    unit = make_target(question.target).unit
    models, _ = read_models(dataset, (name,), online.policy.epochs, unit, params)
    if not models:
        return None
    return Plan(
        dataset=dataset,
        question=question,
        model=models[0],
        seed=int(lookup("training", params).get("seed", 1)),
        policy=online.policy,
        drift=online.drift,
        walk=validate(lookup_for(dataset, "walk_forward", params), WalkForward, "walk_forward"),
    )
