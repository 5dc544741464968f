"""A configuration as what params.yaml takes: a YAML fragment, or arguments of `dvc exp run`."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import yaml

from carrossel.config import lookup_for
from carrossel.errors import ConfigError
from carrossel.tuning.config import LIST_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carrossel.tuning.config import Choice

_BY_DATASET = ("windows", "target", "head")
_KIND = "cell.kind"
_LISTS = ("windows.features",)
_WORD = re.compile(r"[A-Za-z_][\w./-]*")
_NOT_WORDS = {"true", "false", "null", "nan", "inf"}


def as_patch(
    values: Mapping[str, Choice],
    cell: str,
    dataset: str,
    params: Mapping[str, Any],
    about: Sequence[str] = (),
) -> str:
    """A fragment of params.yaml that sets these values; `apply_patch` puts it where it belongs.

    Keys of `cell` go to `cells.<kind>`; those of windows, target and head to the dataset's own section if it has one, else to the
    general one. A section whose `kind` changes is there whole: keys of the kind before would be unknown to it.

    Args:
        values: by dotted key such as `cell.hidden_size`, as Optuna stores them.
        cell: the cell's kind unless `cell.kind` is among the values.
        dataset: whose configuration it is.
        params: all of params.yaml.
        about: lines of comment above it.
    """
    patch: dict[str, Any] = {}
    for path, value in _settings(values, cell, dataset, params).items():
        node = patch
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = value
    comment = "".join(f"# {' '.join(line.split())}\n" for line in about)
    # PyYAML writes 1.0e-05: what it reads as a number, unlike 1e-05.
    return comment + (yaml.safe_dump(patch, sort_keys=False, allow_unicode=True, width=120) if patch else "")


def as_set_arguments(values: Mapping[str, Choice], cell: str, dataset: str, params: Mapping[str, Any]) -> list[str]:
    """The same as arguments of `dvc exp run`: `-S`, `cells.lstm.hidden_size=41`, and so on.

    Numbers come through exactly: DVC writes 1e-05, which PyYAML takes for a string, but the sections' models for a number.

    Args:
        values, cell, dataset, params: see `as_patch`.
    """
    settings = _settings(values, cell, dataset, params)
    overrides = []
    for path, value in settings.items():
        add = "" if _has(params, path) else "++"
        overrides.append(f"{add}{'.'.join(path)}={_quote(value)}")
    for section in {path[:-1] for path in settings if path[-1] == "kind"}:
        before = _look(params, section) or {}
        new = settings[(*section, "kind")]
        if before.get("kind", new) != new:
            overrides += [f"~{'.'.join([*section, key])}" for key in before if (*section, key) not in settings]
    return [argument for override in overrides for argument in ("-S", override)]


def apply_patch(params: Mapping[str, Any], patch: str) -> dict[str, Any]:
    """params.yaml as a patch changes it; what isn't named stays.

    Raises:
        ConfigError: if the patch isn't a mapping in YAML.
    """
    try:
        changes = yaml.safe_load(patch)
    except yaml.YAMLError as error:
        raise ConfigError(f"the patch isn't valid YAML: {' '.join(str(error).split())}") from None
    if changes is not None and not isinstance(changes, dict):
        raise ConfigError(f"the patch holds {type(changes).__name__}, expected a mapping of sections of params.yaml.")
    merged: dict[str, Any] = _merge(params, changes or {})
    return merged


def _settings(
    values: Mapping[str, Choice], cell: str, dataset: str, params: Mapping[str, Any]
) -> dict[tuple[str, ...], Any]:
    """Values by their paths in params.yaml."""
    kind = str(values.get(_KIND, cell))
    settings: dict[tuple[str, ...], Any] = {}
    for key, value in values.items():
        if key == _KIND:
            continue
        section, _, name = key.partition(".")
        place = _place(section, kind, dataset, params)
        if name == "kind" and section in _BY_DATASET:
            for kept, old in _kept(section, str(value), dataset, params).items():
                settings.setdefault((*place, kept), old)
        settings[*place, name] = value.split(LIST_SEPARATOR) if key in _LISTS and isinstance(value, str) else value
    return settings


def _place(section: str, kind: str, dataset: str, params: Mapping[str, Any]) -> tuple[str, ...]:
    if section == "cell":
        return "cells", kind
    own = ("datasets", dataset, section)
    return own if section in _BY_DATASET and _look(params, own) else (section,)


def _kept(section: str, kind: str, dataset: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """What stays of a section whose kind changes: a target's other keys; a head of another kind has keys of its own."""
    if section != "target":
        return {}
    now = lookup_for(dataset, section, dict(params))
    return {} if now.get("kind") == kind else dict(now)


def _merge(old: Any, new: Mapping[str, Any]) -> Any:
    if not isinstance(old, dict) or ("kind" in new and old.get("kind", new["kind"]) != new["kind"]):
        return copy.deepcopy(dict(new))
    merged = copy.deepcopy(old)
    for key, value in new.items():
        merged[key] = _merge(merged.get(key), value) if isinstance(value, dict) else value
    return merged


def _look(params: Mapping[str, Any], path: Sequence[str]) -> Any:
    node: Any = params
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _has(params: Mapping[str, Any], path: Sequence[str]) -> bool:
    parent = _look(params, path[:-1])
    return isinstance(parent, dict) and path[-1] in parent


def _quote(value: Any) -> str:
    """A value in Hydra's grammar of overrides."""
    if isinstance(value, list):
        return f"[{','.join(_quote(item) for item in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not (_WORD.fullmatch(value) and value.lower() not in _NOT_WORDS):
        return "'" + value.replace("'", r"\'") + "'"
    return value if isinstance(value, str) else repr(value)
