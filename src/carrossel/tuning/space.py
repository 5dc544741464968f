"""From drawn values to a recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from carrossel.config import validate
from carrossel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna import Trial

    from carrossel.config import Section
    from carrossel.training.config import Recipe
    from carrossel.tuning.config import Tuning

# Windows and target stay as they are: every competitor must forecast the very same bars.
_SECTIONS = ("cell", "training")


def apply(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with some knobs set anew, every section checked again.

    Args:
        values: by dotted key such as `cell.hidden_size`.

    Raises:
        ConfigError: if a key isn't a knob of its section or a value isn't allowed there.
    """
    changed: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        if section not in _SECTIONS or not name:
            raise ConfigError(
                f"tuning.space.{key}: expected a key under {', '.join(_SECTIONS)}, such as cell.hidden_size."
            )
        changed.setdefault(section, {})[name] = value
    sections: dict[str, Any] = {}
    for section, knobs in changed.items():
        current: Section = getattr(recipe, section)
        sections[section] = validate({**current.model_dump(), **knobs}, type(current), f"tuning.space: {section}")
    return replace(recipe, **sections)


def check_space(recipe: Recipe, config: Tuning) -> None:
    """Try both ends of every range before the first trial.

    Raises:
        ConfigError: see `apply`.
    """
    for key, space in config.space.items():
        for value in (space.low, space.high):
            apply(recipe, {key: value})


def draw(recipe: Recipe, config: Tuning, trial: Trial) -> Recipe:
    """The recipe of one trial, with the trial's number of epochs."""
    values = {key: space.suggest(key, trial) for key, space in config.space.items()}
    return apply(recipe, {"training.epochs": config.epochs, **values})
