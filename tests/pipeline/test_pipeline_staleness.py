"""An edit to one cell makes that cell's stages stale and no other: seen in the graph that DVC builds from dvc.yaml.

The walk-forward, the odyssey and the memory exams take any cell, so DVC reruns them; the first two then refit the edited cell
alone (tests/walk_forward, tests/tuning).
"""

from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

ROOT = Path(__file__).resolve().parents[2]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stages():
    with Repo(ROOT) as repo:
        return {stage.addressing: stage for stage in repo.index.stages}


def expected(kind):
    names = {f"train@{dataset}-{kind}" for dataset in PARAMS["datasets"]}
    if kind == PARAMS["tuning"]["cell"]:
        names |= {f"tune@{dataset}" for dataset in PARAMS["datasets"]}
    return names | {"odyssey", *(f"walk_forward@{dataset}" for dataset in PARAMS["datasets"])}


def looking(kind):
    """The lab's stages that run this cell's code: all may sit the exams, Hochreiter's experiment is about `rnn`."""
    chosen = {stage for stage in ("units", "text") if PARAMS["lab"][stage]["cell"] == kind}
    return chosen | {"exams"} | ({"lab"} if kind == "rnn" else set())


def scoring():
    """Who competes is what `cells` and `baselines` name, so these stages see a cell come or go."""
    return {"compare", "lab", *(f"evaluate@{dataset}" for dataset in PARAMS["datasets"])}


@pytest.mark.parametrize("kind", PARAMS["cells"])
def test_editing_a_cells_file_concerns_that_cells_stages_alone(stages, kind):
    file = f"src/carrossel/cells/{kind}.py"

    def reads(stage):
        return any(file == dep.def_path or file.startswith(f"{dep.def_path}/") for dep in stage.deps)

    assert {name for name, stage in stages.items() if reads(stage)} == expected(kind) | looking(kind)


@pytest.mark.parametrize("kind", PARAMS["cells"])
def test_editing_a_cells_params_concerns_that_cells_stages_alone(stages, kind):
    def reads(stage):
        keys = {key for dep in stage.deps for key in getattr(dep, "params", ())}
        return any(f"cells.{kind}" == key or f"cells.{kind}".startswith(f"{key}.") for key in keys)

    assert {name for name, stage in stages.items() if reads(stage)} == expected(kind) | scoring()


def test_editing_one_datasets_section_leaves_the_others_alone(stages):
    for name, stage in stages.items():
        keys = {key for dep in stage.deps for key in getattr(dep, "params", ())}
        for dataset in PARAMS["datasets"]:
            if f"datasets.{dataset}" in keys:
                assert name.partition("@")[2].partition("-")[0] == dataset or (
                    (name == "units" and PARAMS["lab"]["dataset"] == dataset)
                    or (name == "odyssey" and PARAMS["odyssey"]["dataset"] == dataset)
                )


def test_outputs_survive_a_failing_stage(stages):
    assert [out.def_path for stage in stages.values() for out in stage.outs if not out.persist] == []
