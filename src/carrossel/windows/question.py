"""What a dataset is asked: its windows and its target, the general sections as the dataset's own keys change them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from carrossel.config import lookup_for, validate
from carrossel.targets.base import read_target
from carrossel.windows.config import Windows

if TYPE_CHECKING:
    from carrossel.targets.base import TargetConfig


class Question(NamedTuple):
    """Every competitor of a dataset answers the same one."""

    windows: Windows
    target: TargetConfig


def read_question(dataset: str, params: dict[str, Any]) -> Question:
    """Sections `windows` and `target` for a dataset.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    return Question(
        validate(lookup_for(dataset, "windows", params), Windows, "windows"),
        read_target(lookup_for(dataset, "target", params)),
    )
