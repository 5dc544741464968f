"""The whole of params.yaml, for `carrossel check` and for editors. Stages read one section each and never this."""

from __future__ import annotations

from typing import Any

from pydantic import Field, create_model

from carrossel import cells
from carrossel.bars.config import Dataset, Repair
from carrossel.config import Section, validate
from carrossel.targets.base import TargetConfig, read_target
from carrossel.tracking.config import Tracking
from carrossel.training.config import Training, read_recipe
from carrossel.tuning.config import Tuning
from carrossel.tuning.space import check_space
from carrossel.windows.config import Windows


def params_model() -> type[Section]:
    """The model of params.yaml, with one optional entry per registered cell."""
    configs: dict[str, Any] = {kind: (cells.registry.load(kind).Config | None, None) for kind in cells.registry.kinds()}
    return create_model(
        "Params",
        __base__=Section,
        datasets=(dict[str, Dataset], Field(min_length=1, description="The series, by name.")),
        bars=(Repair, Field(description="How prepare repairs.")),
        windows=(Windows, Field(description="How a series is cut and split.")),
        target=(TargetConfig, Field(description="What is forecast.")),
        cells=(create_model("Cells", __base__=Section, **configs), Field(description="One entry per competitor.")),
        training=(Training, Field(description="How a network is fitted.")),
        tuning=(Tuning, Field(description="The study.")),
        tracking=(Tracking, Field(Tracking(), description="Where runs are recorded.")),
    )


def check(params: dict[str, Any]) -> None:
    """Check every section, and what only several together can say.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    validate(params, params_model(), "params.yaml")
    read_target(params)
    tuning = validate(params["tuning"], Tuning, "tuning")
    for dataset in params["datasets"]:
        check_space(read_recipe(dataset, tuning.cell, params, competitor="tuned"), tuning)


def schema() -> dict[str, Any]:
    """JSON schema of params.yaml."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "carrossel params.yaml",
        **params_model().model_json_schema(),
    }
