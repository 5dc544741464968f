"""What the page reads of section `lab` of params.yaml."""

from __future__ import annotations

from typing import Any

from carrossel.config import lookup, validate
from carrossel.errors import ConfigError
from carrossel.lab.hochreiter.config import Hochreiter

_DATASET = "bitcoin"


def read_page(params: dict[str, Any]) -> tuple[str, Hochreiter]:
    """`lab.dataset`, which is looked at closely, and `lab.hochreiter`.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    lab = params.get("lab") or {}
    if not isinstance(lab, dict):
        raise ConfigError(f"lab = {lab!r}: expected a mapping of sections such as hochreiter and exams.")
    dataset = str(lab.get("dataset", _DATASET))
    lookup(f"datasets.{dataset}", params)
    return dataset, validate(lab.get("hochreiter"), Hochreiter, "lab.hochreiter")
