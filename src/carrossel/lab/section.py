"""Section `lab` of params.yaml, piece by piece: a stage reads its own part and never the others'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from carrossel.config import lookup, validate
from carrossel.errors import ConfigError

if TYPE_CHECKING:
    from carrossel.config import Section

T = TypeVar("T", bound="Section")
_DATASET = "bitcoin"


def read_part(params: dict[str, Any], name: str, model: type[T]) -> T:
    """`lab.<name>`, with its defaults where it isn't there.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    return validate(_section(params).get(name), model, f"lab.{name}")


def read_dataset(params: dict[str, Any]) -> str:
    """`lab.dataset`, which is looked at closely.

    Raises:
        ConfigError: if there is no such dataset.
    """
    dataset, known = _section(params).get("dataset", _DATASET), lookup("datasets", params)
    if not isinstance(dataset, str) or dataset not in known:
        raise ConfigError(f"lab.dataset = {dataset!r}: no such entry in datasets; there are {', '.join(known)}.")
    return dataset


def _section(params: dict[str, Any]) -> dict[str, Any]:
    section = params.get("lab") or {}
    if not isinstance(section, dict):
        raise ConfigError(f"lab = {section!r}: expected a mapping of sections such as exams, units and text.")
    return section
