"""Caches tell the truth: each stage's deps in dvc.yaml are exactly the project's files that its script really imports.

`python tests/pipeline/test_pipeline_dependencies.py` prints what each stage should list.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import grimp
import pytest
import yaml

from carrossel.kinds import Registry

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
STAGES = [
    "download",
    "prepare",
    "explore",
    "train",
    "tune",
    "odyssey",
    "baselines",
    "walk_forward",
    "evaluate",
    "compare",
    "register",
    "exams",
    "units",
    "text",
    "lab",
]

# Rooms that go in as whole folders, to keep DVC's files small (each entry costs a no-op `dvc repro` 2 ms): an edit to one of
# these modules reruns stages that don't import it, which is slow but never wrong.
ALSO_THERE = {
    *(f"src/carrossel/cells/onnx/{name}.py" for name in ("exporting", "graph", "layers", "operations", "tracing")),
    "src/carrossel/cells/kernels/stepping.py",
    "src/carrossel/cells/kernels/warming.py",
    "src/carrossel/lab/exams/figures/__init__.py",
    "src/carrossel/lab/exams/figures/figures.py",
    "src/carrossel/tracking/lab.py",
    "src/carrossel/tracking/registry.py",
    "src/carrossel/tracking/reports.py",
    "src/carrossel/tracking/served_model.py",
    "src/carrossel/tracking/session.py",
    "src/carrossel/tracking/ui.py",
    "src/carrossel/windows/table.py",
    *(path.relative_to(ROOT).as_posix() for path in (SRC / "carrossel" / "tuning").rglob("*.py")),
}
SAMPLES = "src/carrossel/bars/samples"  # read as data: the embedded prices

# Kinds are imported by name at run time: which one is a dependency by template, and what kinds import is one outright.
CHOSEN = {
    "train": {"carrossel.cells": "${item.cell}"},
    "tune": {"carrossel.cells": "${tuning.cell}"},
    "units": {"carrossel.cells": "${lab.units.cell}"},
    "text": {"carrossel.cells": "${lab.text.cell}"},
    "lab": {"carrossel.cells": "rnn"},
}

# Rooms of which a stage takes kinds that dvc.yaml can't name, such as a dataset's own target or the source that another one
# replays: each of them is a dependency.
ANY = {
    "download": ["carrossel.bars.sources"],
    "prepare": ["carrossel.bars.sources"],
    "train": ["carrossel.targets", "carrossel.forecaster.heads"],
    "tune": ["carrossel.targets", "carrossel.forecaster.heads"],
    "odyssey": ["carrossel.targets", "carrossel.forecaster.heads", "carrossel.cells"],
    "baselines": ["carrossel.targets", "carrossel.baselines"],
    "walk_forward": ["carrossel.targets", "carrossel.forecaster.heads", "carrossel.baselines", "carrossel.cells"],
    "exams": ["carrossel.lab.exams", "carrossel.cells"],
    "units": ["carrossel.targets", "carrossel.forecaster.heads"],
}


@cache
def import_graph() -> grimp.ImportGraph:
    return grimp.build_graph("carrossel", exclude_type_checking_imports=True, cache_dir=None)


def file_of(module: str) -> Path:
    path = SRC.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported_modules(stage: str) -> set[str]:
    """Modules of the project that a stage imports, directly or through others, the packages on the way included."""
    graph = import_graph()
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / "pipeline" / f"{stage}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    kinds = {f"{room}.{kind}" for room in CHOSEN.get(stage, {}) for kind in Registry(room, "kind").kinds()}
    any_kind = {f"{room}.{kind}" for room in ANY.get(stage, []) for kind in Registry(room, "kind").kinds()}
    found: set[str] = set()
    todo = list((names & graph.modules) | kinds | any_kind)
    while todo:
        module = todo.pop()
        if module in found:
            continue
        found.add(module)
        todo += graph.find_modules_directly_imported_by(module)
        if "." in module:
            todo.append(module.rsplit(".", 1)[0])
    return found - kinds


def holds_code(file: Path) -> bool:
    """Whether a file has more than a docstring: an `__init__.py` without code can't make a result stale."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(file.read_text(encoding="utf-8")).body)


def closure(stage: str) -> set[str]:
    """Files, as dvc.yaml writes them."""
    files = [file_of(module) for module in imported_modules(stage)]
    imported = {file.relative_to(ROOT).as_posix() for file in files if holds_code(file)}
    chosen = {f"src/{room.replace('.', '/')}/{kind}.py" for room, kind in CHOSEN.get(stage, {}).items()}
    return imported | chosen | {f"pipeline/{stage}.py"}


def declared(stage: str) -> list[str]:
    entry = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    return entry.get("do", entry)["deps"]


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_import_closure(stage):
    listed = set()
    for dep in declared(stage):
        if dep == SAMPLES:
            continue
        if (ROOT / dep).is_dir() and dep.startswith("src/"):
            files = {file.relative_to(ROOT).as_posix() for file in (ROOT / dep).rglob("*.py") if holds_code(file)}
            listed |= files - (ALSO_THERE - closure(stage))
        elif dep.endswith(".py"):
            listed.add(dep)
    assert listed == closure(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_listed_once_and_exist(stage):
    deps = declared(stage)
    assert len(deps) == len(set(deps))
    assert [
        dep for dep in deps if dep.startswith(("src/", "pipeline/")) and "${" not in dep and not (ROOT / dep).exists()
    ] == []


@pytest.mark.parametrize("stage", ["download", "prepare", "explore", "evaluate", "compare"])
def test_stages_that_compute_no_network_do_not_import_torch(stage):
    graph = grimp.build_graph(
        "carrossel", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )
    outside = {name for module in imported_modules(stage) for name in graph.find_modules_directly_imported_by(module)}
    assert outside.isdisjoint({"torch", "pytorch_lightning", "mlflow", "optuna"})


if __name__ == "__main__":
    for name in STAGES:
        print(f"{name}:")
        for dep in sorted(closure(name)):
            print(f"  - {dep}")
