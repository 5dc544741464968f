"""Section `lab.units` of params.yaml, and the training that it asks for."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from carrossel import cells
from carrossel.config import Section, lookup_for, validate
from carrossel.errors import ConfigError
from carrossel.forecaster.heads.base import read_head
from carrossel.lab.section import read_dataset, read_part
from carrossel.targets.base import read_target
from carrossel.training.config import Recipe, Training
from carrossel.windows.config import Windows

_SHORTEST = 3  # a window's volatility needs two returns


class Units(Section):
    """Which small network is looked into, and how it is trained."""

    cell: str = Field(default="lstm", description="Which cell: a file in src/carrossel/cells.")
    hidden_size: int = Field(
        default=32, ge=1, le=512, description="Units to look at; with several layers, those of the top one."
    )
    options: dict[str, Any] = Field(
        default={}, description="Further keys of the cell, as under cells.<kind>, such as layers."
    )
    epochs: int = Field(default=6, ge=1, description="Passes over the training part, at most.")
    learning_rate: float = Field(default=0.002, gt=0, le=1, description="Of AdamW.")
    bins: int = Field(default=21, ge=6, le=201, description="Next moves that the head tells apart.")
    seed: int = Field(default=1, ge=0, lt=2**31, description="Of the training and of the shuffled control.")
    bars: int = Field(default=168, ge=24, le=2000, description="Bars on a picture; the page can be panned over all.")


def read_units(params: dict[str, Any]) -> tuple[Units, Recipe]:
    """The section, and the recipe of its network on `lab.dataset`: binned head, log return of the next bar.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    config, dataset = read_part(params, "units", Units), read_dataset(params)
    windows = validate(lookup_for(dataset, "windows", params), Windows, "windows")
    if windows.lookback < _SHORTEST:
        raise ConfigError(
            f"windows.lookback = {windows.lookback}: lab.units looks at windows of {_SHORTEST} bars or more."
        )
    target = read_target({"kind": "log_return"})
    cell = cells.registry.load(config.cell).Config
    return config, Recipe(
        dataset=dataset,
        competitor="units",
        kind=config.cell,
        cell=validate({**config.options, "hidden_size": config.hidden_size}, cell, "lab.units.options"),
        windows=windows.model_copy(update={"horizon": 1}),  # page and pictures speak of the next bar's move
        target=target,
        head=read_head({"kind": "binned", "bins": config.bins}, target, "lab.units"),
        training=validate(
            {
                "seed": config.seed,
                "epochs": config.epochs,
                "learning_rate": config.learning_rate,
                "accelerator": "cpu",  # the same numbers on every machine
            },
            Training,
            "lab.units",
        ),
    )
