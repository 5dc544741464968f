"""The whole of an odyssey besides its bars: a study per cell, each with a name of its own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from carrossel import cells
from carrossel.config import lookup, validate
from carrossel.errors import ConfigError
from carrossel.training.config import Recipe, read_recipe
from carrossel.tuning.odyssey.config import Odyssey
from carrossel.tuning.source import digest_trial
from carrossel.tuning.space import check_space

_QUESTION = {"epochs", "folds", "seed", "space"}


@dataclass(frozen=True)
class Plan:
    """What is tried.

    Args:
        recipes: by cell, with a trial's epochs; competitor and kind are the cell.
        params: the whole of params.yaml.
    """

    config: Odyssey
    recipes: dict[str, Recipe]
    params: dict[str, Any]
    data_sha256: str

    def name(self, cell: str) -> str:
        """Name of a cell's study: the same for the same question, data and code, however many trials and other cells.

        Keys that every trial draws count for nothing in the recipe.
        """
        recipe = self.recipes[cell].as_dict()
        fixed: dict[str, Any] = {**recipe, "cell": dict(recipe["cell"]["config"])}
        for key in self.config.space:
            section, _, name = key.partition(".")
            fixed[section] = {knob: value for knob, value in fixed[section].items() if knob != name}
        asked = self.config.model_dump(mode="json", include=_QUESTION)
        values = [cell, fixed, asked, self.data_sha256, digest_trial(cell)]
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        return f"odyssey-{self.config.dataset}-{cell}-{digest[:12]}"


def read_plan(params: dict[str, Any], data_sha256: str) -> Plan:
    """What params.yaml asks for.

    Raises:
        ConfigError: naming key, value and what is allowed; also where the space leads out of what a cell allows.
    """
    config = read_odyssey(params)
    recipes = {cell: _read(config, cell, params) for cell in config.cells}
    for recipe in recipes.values():
        check_space(recipe, config.space, params)
    return Plan(config, recipes, params, data_sha256)


def read_odyssey(params: dict[str, Any]) -> Odyssey:
    """Section `odyssey`, with names that exist.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    config = validate(lookup("odyssey", params), Odyssey, "odyssey")
    for key, name, known in (
        ("dataset", config.dataset, list(lookup("datasets", params))),
        *((f"cells.{place}", cell, cells.registry.kinds()) for place, cell in enumerate(config.cells)),
    ):
        if name not in known:
            raise ConfigError(f"odyssey.{key} = {name!r}: doesn't exist; there are {', '.join(known)}.")
    return config


def _read(config: Odyssey, cell: str, params: dict[str, Any]) -> Recipe:
    section = (lookup("cells", params) or {}).get(cell) or {}
    recipe = read_recipe(config.dataset, cell, {**params, "cells": {cell: section}})
    # A worker has one thread and no GPU, so that a trial gives the same numbers wherever it runs.
    fixed = {"epochs": config.epochs, "threads": 1, "accelerator": "cpu"}
    return replace(recipe, training=recipe.training.model_copy(update=fixed))
