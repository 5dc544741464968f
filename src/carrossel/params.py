"""The whole of params.yaml, for `carrossel check` and for editors. Stages read single sections and never this."""

from __future__ import annotations

from typing import Any

from pydantic import Field, create_model

from carrossel import cells
from carrossel.bars.config import Dataset, Repair
from carrossel.baselines.base import read_baselines
from carrossel.baselines.base import registry as baselines
from carrossel.config import Section, validate
from carrossel.lab.config import Lab
from carrossel.lab.exams.sitting.plan import read_plan as read_exams
from carrossel.lab.page.config import read_page
from carrossel.lab.text.config import read_text_section
from carrossel.lab.units.config import read_units
from carrossel.online.config import Online
from carrossel.targets.base import TargetConfig
from carrossel.tracking.config import Tracking
from carrossel.training.config import Training, read_recipe
from carrossel.tuning.config import Tuning
from carrossel.tuning.odyssey.config import Odyssey
from carrossel.tuning.odyssey.plan import read_plan as read_odyssey
from carrossel.tuning.space import check_space
from carrossel.walk_forward.config import WalkForward
from carrossel.walk_forward.plan import read_plan
from carrossel.windows.config import Windows


def params_model() -> type[Section]:
    """The model of params.yaml, with one optional entry per registered cell and baseline."""
    entries: dict[str, Any] = {kind: (cells.registry.load(kind).Config | None, None) for kind in cells.registry.kinds()}
    simple: dict[str, Any] = {kind: (baselines.load(kind).Config | None, None) for kind in baselines.kinds()}
    return create_model(
        "Params",
        __base__=Section,
        datasets=(dict[str, Dataset], Field(min_length=1, description="The series, by name.")),
        bars=(Repair, Field(description="How prepare repairs.")),
        windows=(Windows, Field(description="How a series is cut and split.")),
        target=(TargetConfig, Field(description="What is forecast.")),
        head=(
            dict[str, Any],
            Field(description="What the network's last numbers mean: a kind and that head's own keys."),
        ),
        cells=(create_model("Cells", __base__=Section, **entries), Field(description="One entry per competitor.")),
        baselines=(create_model("Baselines", __base__=Section, **simple), Field(description="One entry per baseline.")),
        training=(Training, Field(description="How a network is fitted.")),
        tuning=(Tuning, Field(description="The study.")),
        odyssey=(Odyssey, Field(description="Random trials of every cell.")),
        walk_forward=(WalkForward, Field(description="Refitting through time.")),
        lab=(Lab, Field(description="What the cell lab looks at.")),
        online=(Online, Field(Online(), description="Models in use.")),
        tracking=(Tracking, Field(Tracking(), description="Where runs are recorded.")),
    )


def check(params: dict[str, Any]) -> None:
    """Check every section, and what only several together can say.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    validate(params, params_model(), "params.yaml")
    read_baselines(params)
    tuning = validate(params["tuning"], Tuning, "tuning")
    for dataset in params["datasets"]:
        check_space(read_recipe(dataset, tuning.cell, params, competitor="tuned"), tuning.space, params)
        read_plan(dataset, params)
    read_odyssey(params, "")
    for read in (read_exams, read_units, read_text_section, read_page):
        read(params)


def named_cells(params: dict[str, Any]) -> list[str]:
    """Kinds of cells that some stage of params.yaml trains."""
    lab = validate(params["lab"], Lab, "lab")
    candidates = {candidate.cell for candidate in lab.exams.candidates.values()}
    tried = validate(params["odyssey"], Odyssey, "odyssey").cells
    return sorted({*params["cells"], *candidates, *tried, lab.units.cell, lab.text.cell})


def schema() -> dict[str, Any]:
    """JSON schema of params.yaml."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "carrossel params.yaml",
        **params_model().model_json_schema(),
    }
