"""What the page reads of section `lab` of params.yaml."""

from __future__ import annotations

from typing import Any

from carrossel.lab.hochreiter.config import Hochreiter
from carrossel.lab.section import read_dataset, read_part


def read_page(params: dict[str, Any]) -> tuple[str, Hochreiter]:
    """`lab.dataset`, which is looked at closely, and `lab.hochreiter`.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    return read_dataset(params), read_part(params, "hochreiter", Hochreiter)
