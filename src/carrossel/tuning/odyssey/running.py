"""Run what an odyssey lacks: one study per cell, the trials of all on the same workers."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import optuna
import pandas as pd
from optuna.trial import TrialState

from carrossel.errors import StudyError
from carrossel.revision import code_revision
from carrossel.tuning.conducting import Ongoing, conduct
from carrossel.tuning.crew import open_crew
from carrossel.tuning.data import Held
from carrossel.tuning.journal import Journal
from carrossel.tuning.rows import study_rows
from carrossel.tuning.space import default_values, draw
from carrossel.tuning.storage import failed_by_itself, open_storage, storage_url
from carrossel.tuning.trial import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from carrossel.recorder import OpenRun, Recorder
    from carrossel.tuning.odyssey.plan import Plan
    from carrossel.tuning.progress import Progress

R = TypeVar("R")
EXPERIMENT = "odyssey"  # as the lab, apart from the datasets' own runs
COLUMNS = ("cell", "number", "state", "skill", "seconds", "parameters", "reason")


def run_odyssey(
    plan: Plan,
    bars: pd.DataFrame,
    root: Path,
    *,
    open_run: OpenRun,
    progress: Progress,
    finish: Callable[[Recorder, pd.DataFrame], R],
) -> R:
    """Run trials until every cell has as many complete ones as asked, within one tracked run.

    What was finished before stays: more trials, or more cells, go on where it was. Trials are random, so they are the same in
    whatever order and on however many workers they run. Each is a row of the report; a run of its own costs
    about 0.1 s and a line in the list of runs, so they are tracked only with `odyssey.track_trials`.

    Args:
        bars: canonical; nothing from the test part's first row on is handed to a trial.
        root: the project's folder.
        finish: called with the run still open and the trials of `read_trials`; what it returns is returned.

    Raises:
        StudyError: if a cell has no complete trial, or the storage can't be written.
        TrainingError: if the scheduler dies.
    """
    studies = open_studies(plan, root)
    with _open_parent(plan, studies, open_run) as parent:
        if any(_complete(study) < plan.config.trials for study in studies.values()):
            _run(plan, bars, root, studies, parent, open_run, progress)
        trials = read_trials(plan, studies)
        for cell, own in trials.groupby("cell", sort=False):
            if not (own["state"] == "complete").any():
                raise StudyError(
                    f"odyssey {cell}: none of {len(own)} trials completed; the last: {own['reason'].iloc[-1]}. Narrow "
                    f"odyssey.space (learning rates first), or take {cell} out of odyssey.cells."
                )
        return finish(parent, trials)


def open_studies(plan: Plan, root: Path) -> dict[str, optuna.Study]:
    """Each cell's study, created or loaded.

    Raises:
        StudyError: if the storage can't be opened.
    """
    storage = open_storage(storage_url(plan.config.storage, root), root)
    studies = {}
    for cell, recipe in plan.recipes.items():
        study = optuna.create_study(
            study_name=plan.name(cell),
            storage=storage,
            pruner=optuna.pruners.NopPruner(),  # distributions need every trial to its end
            direction="maximize",
            load_if_exists=True,
        )
        described = {
            "dataset": plan.config.dataset,
            "cell": cell,
            "data_sha256": plan.data_sha256,
            "code_revision": code_revision(),
            "config": plan.config.model_dump(mode="json", exclude={"storage"}),  # which may hold a password
            "default": default_values(recipe, plan.config.space),
            "objectives": ["skill"],
        }
        for name, value in described.items():
            if study.user_attrs.get(name) != value:
                study.set_user_attr(name, value)
        studies[cell] = study
    return studies


def read_trials(plan: Plan, studies: Mapping[str, optuna.Study]) -> pd.DataFrame:
    """One row per trial, in the order of cells and numbers: `COLUMNS`, then the drawn values by key.

    A study that has more trials than asked gives its first ones. `skill` is empty where a trial failed.
    """
    rows = []
    for cell, study in studies.items():
        left = plan.config.trials
        for trial in study.get_trials(deepcopy=False):
            complete = trial.state == TrialState.COMPLETE
            if left and (complete or failed_by_itself(trial)):
                left -= complete
                rows.append(
                    {
                        "cell": cell,
                        "number": trial.number,
                        "state": "complete" if complete else "failed",
                        "skill": trial.value if complete else None,
                        **{name: trial.user_attrs.get(name) for name in ("seconds", "parameters", "reason")},
                        **trial.params,
                    }
                )
    table = pd.DataFrame(rows, columns=[*COLUMNS, *plan.config.space])
    return table.astype({"skill": "float64", "seconds": "float64"}).fillna({"reason": ""})


def _run(
    plan: Plan,
    bars: pd.DataFrame,
    root: Path,
    studies: Mapping[str, optuna.Study],
    parent: Recorder,
    open_run: OpenRun,
    progress: Progress,
) -> None:
    config = plan.config
    any_recipe = next(iter(plan.recipes.values()))  # windows and target are those of all
    rows = study_rows(bars, any_recipe, config.space, config.folds, config.dataset)
    scratch = root / ".carrossel" / "odyssey" / config.dataset
    held = Held.share(config.dataset, bars.iloc[: rows.end], rows.folds, scratch if config.scheduler is None else None)

    def journal(cell: str, study: optuna.Study) -> Journal | None:
        tags = {"cell": cell, "dataset": config.dataset, "data_sha256": plan.data_sha256}
        return Journal(study, EXPERIMENT, tags, open_run, parent) if config.track_trials else None

    ongoing = [
        Ongoing(
            study,
            f"odyssey {cell}",
            config.trials,
            partial(_job, plan, cell),
            partial(_sampler, config.seed, cell),
            journal(cell, study),
        )
        for cell, study in studies.items()
    ]
    with open_crew(config, held, scratch / "workers", "odyssey") as crew:
        conduct(ongoing, crew, progress)


@contextmanager
def _open_parent(plan: Plan, studies: Mapping[str, optuna.Study], open_run: OpenRun) -> Iterator[Recorder]:
    config = plan.config
    known = (study.user_attrs.get("run_id") for study in studies.values())
    with open_run(
        EXPERIMENT,
        "odyssey",
        key=f"odyssey-{config.dataset}",
        tags={"dataset": config.dataset, "data_sha256": plan.data_sha256, "cells": ", ".join(config.cells)},
        resume_run_id=next(filter(None, known), None),
    ) as run:
        for study in studies.values():
            if run.run_id and study.user_attrs.get("run_id") != run.run_id:
                study.set_user_attr("run_id", run.run_id)
        run.params({"epochs": config.epochs, "folds": config.folds, "seed": config.seed})
        yield run


def _job(plan: Plan, cell: str, trial: optuna.Trial) -> Job:
    return Job(
        study=plan.name(cell),
        number=trial.number,
        name=f"odyssey {cell} trial {trial.number}",
        recipe=draw(plan.recipes[cell], plan.config.space, trial, plan.params),
        prunable=False,
    )


def _sampler(seed: int, cell: str, study: optuna.Study, number: int) -> optuna.samplers.RandomSampler:
    """Seeded by the trial, so that a resumed odyssey draws what an undisturbed one would have."""
    del study
    digest = hashlib.sha256(f"{seed} {cell} {number}".encode()).digest()
    return optuna.samplers.RandomSampler(seed=int.from_bytes(digest[:4]))


def _complete(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
