"""Read one section of params.yaml as a frozen model.

One settings object for all stages would make every stage depend on everything: each stage reads the sections it names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from carrossel.errors import ConfigError


class Section(BaseModel):
    """A part of params.yaml: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


S = TypeVar("S", bound=Section)


def project_root() -> Path:
    """Folder of params.yaml: `$CARROSSEL_ROOT`, else the nearest one upwards that holds params.yaml, else the current one."""
    if root := os.environ.get("CARROSSEL_ROOT"):
        return Path(root).resolve()
    here = Path.cwd().resolve()
    return next((folder for folder in (here, *here.parents) if (folder / "params.yaml").is_file()), here)


def load_params(path: Path | None = None) -> dict[str, Any]:
    """All of params.yaml as plain data.

    Raises:
        ConfigError: if the file is missing, isn't YAML or isn't a mapping.
    """
    path = path or project_root() / "params.yaml"
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} doesn't exist. Run from the project's folder or set CARROSSEL_ROOT.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} isn't valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(params, dict):
        raise ConfigError(f"{path} holds {type(params).__name__}, expected a mapping of sections.")
    return params


def lookup(dotted: str, params: dict[str, Any]) -> Any:
    """The value under a dotted key such as `cells.lstm`.

    Raises:
        ConfigError: naming the keys there are at the level where the path ends.
    """
    node: Any = params
    walked: list[str] = []
    for key in dotted.split("."):
        if not isinstance(node, dict) or key not in node:
            where = ".".join(walked) or "params.yaml"
            there = ", ".join(map(str, node)) if isinstance(node, dict) else repr(node)
            raise ConfigError(f"{dotted}: {where} has no key {key!r}; it has: {there}.")
        node = node[key]
        walked.append(key)
    return node


def lookup_for(dataset: str, section: str, params: dict[str, Any]) -> Any:
    """A section as a dataset's own keys change it; one that names another `kind` replaces it whole.

    Raises:
        ConfigError: see `lookup`.
    """
    own = lookup(f"datasets.{dataset}", params).get(section)
    if not own:
        return lookup(section, params)
    general = params.get(section) or {}
    if not isinstance(own, dict) or own.get("kind", general.get("kind")) != general.get("kind"):
        return own
    return {**general, **own}


def validate(values: Any, model: type[S], name: str) -> S:
    """Check plain data against a section's model.

    Args:
        name: dotted key of the section, for messages.

    Raises:
        ConfigError: one line that names every wrong key, its value and what is allowed.
    """
    try:
        return model.model_validate({} if values is None else values)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(e, model, name) for e in error.errors())) from None


def read(section: str, model: type[S], path: Path | None = None) -> S:
    """Read and check one section of params.yaml.

    Raises:
        ConfigError: see `lookup` and `validate`.
    """
    return validate(lookup(section, load_params(path)), model, section)


def _sentence(error: Any, model: type[Section], name: str) -> str:
    key = ".".join([name, *(str(part) for part in error["loc"])])
    value = error.get("input")
    if error["type"] == "extra_forbidden":
        allowed = _keys_at(model, error["loc"][:-1])
        hint = f"; allowed keys: {', '.join(allowed)}" if allowed else ""
        return f"{key} = {value!r}: unknown key{hint}"
    if error["type"] == "missing":
        return f"{key} is missing"
    return f"{key} = {value!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return list(model.model_fields)
