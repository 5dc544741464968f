"""From drawn values to a recipe."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from carrossel import cells
from carrossel.config import lookup, validate
from carrossel.errors import ConfigError
from carrossel.forecaster.heads.base import read_head
from carrossel.forecaster.network import read_cell
from carrossel.targets.base import make_target, read_target
from carrossel.training.config import Training
from carrossel.tuning.config import LIST_SEPARATOR
from carrossel.windows.config import Windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from optuna import Trial

    from carrossel.cells.base import CellConfig
    from carrossel.training.config import Recipe
    from carrossel.tuning.config import Choice, Space

KIND = "cell.kind"
_SECTIONS = ("cell", "training", "windows", "head", "target")
_REFUSED = {
    "windows.train": "trials must be judged on the same rows",
    "windows.validation": "trials must be judged on the same rows",
    "windows.horizon": "trials must forecast the same bar",
    "training.epochs": "a trial's epochs are tuning.epochs",
    "training.seed": "a lucky seed is no configuration",
}


def apply(recipe: Recipe, values: Mapping[str, Choice], params: Mapping[str, Any]) -> Recipe:
    """The recipe with some knobs set anew, every section checked again.

    Args:
        values: by dotted key such as `cell.hidden_size`; `cell.kind` brings the configuration of `cells.<kind>` with it.
        params: all of params.yaml.

    Raises:
        ConfigError: if a key isn't a knob of its section or a value isn't allowed there.
    """
    changed: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    for key, value in values.items():
        section, _, name = key.partition(".")
        if section not in _SECTIONS or not name:
            raise ConfigError(f"space.{key}: expected a key under {', '.join(_SECTIONS)}, such as cell.hidden_size.")
        if key in _REFUSED:
            raise ConfigError(f"space.{key}: can't be drawn, since {_REFUSED[key]}.")
        changed[section][name] = value
    kind = str(changed["cell"].pop("kind", recipe.kind))
    cell = recipe.cell if kind == recipe.kind else _cell(kind, params)
    windows = {**recipe.windows.model_dump(), **changed["windows"]}
    if isinstance(windows["features"], str):
        windows["features"] = windows["features"].split(LIST_SEPARATOR)
    target = read_target({**recipe.target.model_dump(), **changed["target"]}, "space: target")
    if make_target(target).unit != make_target(recipe.target).unit:
        raise ConfigError(
            f"space.target.kind = {target.kind!r} is judged in {make_target(target).unit}, {recipe.target.kind} in "
            f"{make_target(recipe.target).unit}: trials of one study must answer one question."
        )
    head = {**recipe.head.model_dump(), **changed["head"]}
    if head["kind"] != recipe.head.kind:  # another head has keys of its own
        head = changed["head"]
    return replace(
        recipe,
        kind=kind,
        cell=validate({**cell.model_dump(), **changed["cell"]}, type(cell), "space: cell"),
        windows=validate(windows, Windows, "space: windows"),
        target=target,
        head=read_head(head, target, "space: head"),
        training=validate({**recipe.training.model_dump(), **changed["training"]}, Training, "space: training"),
    )


def check_space(recipe: Recipe, space: Mapping[str, Space], params: Mapping[str, Any]) -> None:
    """Try both ends of every range, and every choice, before the first trial.

    Raises:
        ConfigError: see `apply`; also if `when` asks for what its key never is.
    """
    for key, knob in space.items():
        for parent, wanted in knob.when.items():
            if isinstance(never := space[parent].values, tuple) and (odd := [w for w in wanted if w not in never]):
                raise ConfigError(f"space.{key}.when: {parent} is never {odd[0]!r}; it is drawn from {never}.")
        for context in _contexts(key, space):
            for value in knob.ends:
                apply(recipe, {**context, key: value}, params)


def draw(recipe: Recipe, space: Mapping[str, Space], trial: Trial, params: Mapping[str, Any]) -> Recipe:
    """The recipe of one trial.

    Raises:
        ConfigError: if no section allows these values together.
    """
    values: dict[str, Choice] = {}
    for key, knob in space.items():
        if all(values.get(parent) in wanted for parent, wanted in knob.when.items()):
            values[key] = knob.suggest(key, trial)
    return apply(recipe, values, params)


def default_values(recipe: Recipe, space: Mapping[str, Space]) -> dict[str, Choice]:
    """What the recipe has at the space's keys, as Optuna would store it; keys that its cell or head doesn't have are left out."""
    plain = {section: getattr(recipe, section).model_dump(mode="json") for section in _SECTIONS}
    plain["cell"]["kind"] = recipe.kind
    found = {key: plain[key.partition(".")[0]].get(key.partition(".")[2]) for key in space}
    return {
        key: LIST_SEPARATOR.join(value) if isinstance(value, list) else value
        for key, value in found.items()
        if value is not None
    }


def holds(space: Mapping[str, Space], values: Mapping[str, Choice]) -> bool:
    """Whether a trial might draw these values."""
    return all(_may_draw(knob, values[key]) for key, knob in space.items() if key in values)


def _may_draw(knob: Space, value: Choice) -> bool:
    if knob.values is not None:
        return value in knob.values
    low, high = knob.ends
    return isinstance(value, int | float) and low <= value <= high  # type: ignore[operator]  # a range's ends are numbers


def _contexts(key: str, space: Mapping[str, Space]) -> Iterator[dict[str, Choice]]:
    """Values of other keys that this one must be allowed beside: those it waits for, and every kind of cell."""
    parents = dict(space[key].when)
    if key.startswith("cell.") and key != KIND and KIND in space and KIND not in parents:
        parents[KIND] = space[KIND].ends
    for values in product(*parents.values()):
        yield dict(zip(parents, values, strict=True))


def _cell(kind: str, params: Mapping[str, Any]) -> CellConfig:
    """Section `cells.<kind>`, or what the cell is by default where params.yaml doesn't name it."""
    if kind in (lookup("cells", dict(params)) or {}):
        return read_cell(kind, dict(params))
    return cells.registry.load(kind).Config()
