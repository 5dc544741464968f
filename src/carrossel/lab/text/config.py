"""Section `lab.text` of params.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from carrossel import cells
from carrossel.config import Section, validate
from carrossel.errors import ConfigError
from carrossel.lab.section import read_part

if TYPE_CHECKING:
    from carrossel.cells.base import CellConfig


class Text(Section):
    """Which text a small character model learns, and how."""

    file: str | None = Field(
        default=None,
        description="A UTF-8 file, relative to the project's root; null: the text of Python's module `this`.",
    )
    longest: int = Field(
        default=1_000_000, ge=100, le=100_000_000, description="Characters of a text that is still taken."
    )
    cell: str = Field(default="lstm", description="Which cell: a file in src/carrossel/cells.")
    hidden_size: int = Field(default=64, ge=1, le=512, description="Units of the model's one layer.")
    options: dict[str, Any] = Field(default={}, description="Further keys of the cell, as under cells.<kind>.")
    iterations: int = Field(default=1000, ge=1, description="Optimiser steps.")
    steps: int = Field(default=96, ge=2, le=2000, description="Characters that an error travels back through.")
    learning_rate: float = Field(default=0.005, gt=0, le=1, description="Of Adam.")
    seed: int = Field(default=1, ge=0, lt=2**31, description="Of the initial weights.")
    lines: int = Field(
        default=5, ge=1, le=20, description="Rows of text on the picture; long lines wrap, empty ones don't count."
    )


def read_text_section(params: dict[str, Any]) -> tuple[Text, CellConfig]:
    """The section, and the configuration of its cell.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    config = read_part(params, "text", Text)
    cell = validate(
        {**config.options, "hidden_size": config.hidden_size},
        cells.registry.load(config.cell).Config,
        "lab.text.options",
    )
    if cell.layers > 1 or cell.bidirectional:
        raise ConfigError(
            "lab.text.options: the character model has one layer that reads forwards; leave out layers and bidirectional."
        )
    return config, cell
