"""A dataset's study by name: plan it, open it, run what it lacks, take its best configuration."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from carrossel.config import lookup, validate
from carrossel.errors import StudyError
from carrossel.revision import code_revision
from carrossel.training.config import read_recipe
from carrossel.tuning.conducting import Ongoing, conduct
from carrossel.tuning.config import Tuning
from carrossel.tuning.crew import open_crew
from carrossel.tuning.data import Held
from carrossel.tuning.journal import open_journal
from carrossel.tuning.rows import study_rows
from carrossel.tuning.samplers import Samplers, count_grid, make_pruner, points_left
from carrossel.tuning.source import digest_trial
from carrossel.tuning.space import apply, check_space, default_values, draw, holds
from carrossel.tuning.storage import failed_by_itself, open_storage
from carrossel.tuning.trial import Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from optuna.trial import FrozenTrial

    from carrossel.recorder import OpenRun
    from carrossel.training.config import Recipe
    from carrossel.tuning.config import Space
    from carrossel.tuning.journal import Journal
    from carrossel.tuning.progress import Progress

# Each trial is a line and a tracked run; Optuna's own lines would say it twice.
optuna.logging.set_verbosity(optuna.logging.WARNING)
# Heartbeats have been marked experimental since Optuna 2.9; the version is pinned, so nobody needs to be told at every run.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

# What decides no trial's values or skill: a study goes on when one of these was changed.
_FREE = {"trials", "workers", "scheduler", "storage"}


@dataclass(frozen=True)
class Plan:
    """All that determines a study besides the code.

    Args:
        recipe: the default, competitor `tuned`.
        params: all of params.yaml, where cells that may be drawn have their sections.
    """

    recipe: Recipe
    config: Tuning
    params: dict[str, Any]
    data_sha256: str

    @property
    def dataset(self) -> str:
        """Whose bars are forecast."""
        return self.recipe.dataset

    @property
    def label(self) -> str:
        """What people call it."""
        return f"tune@{self.dataset}"

    @property
    def name(self) -> str:
        """The same for the same question, default, space, search, data and code; another study otherwise."""
        kinds = _kinds(self.config.space) or (self.recipe.kind,)
        code = {kind: [self.params["cells"].get(kind), digest_trial(kind)] for kind in kinds}
        study = [self.config.model_dump(mode="json", exclude=_FREE), self.recipe.as_dict(), self.data_sha256, code]
        digest = hashlib.sha256(json.dumps(study, sort_keys=True).encode()).hexdigest()
        return f"{self.dataset}-{self.recipe.kind}-{digest[:12]}"


def read_plan(dataset: str, params: dict[str, Any], data_sha256: str) -> Plan:
    """What params.yaml asks for.

    Raises:
        ConfigError: naming key, value and what is allowed; also where the space leads out of what a section allows.
    """
    config = validate(lookup("tuning", params), Tuning, "tuning")
    recipe = read_recipe(dataset, config.cell, params, competitor="tuned")
    check_space(recipe, config.space, params)
    return Plan(recipe, config, params, data_sha256)


def open_study(plan: Plan, root: Path) -> optuna.Study:
    """Create the study, or load it if this very study was begun before.

    Args:
        root: the project's folder.

    Raises:
        StudyError: if the storage can't be opened.
    """
    up, down = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
    directions = [up if objective == "skill" else down for objective in plan.config.objectives]
    study = optuna.create_study(
        study_name=plan.name,
        storage=open_storage(plan.config.storage, root),
        pruner=make_pruner(plan.config),
        directions=directions,
        load_if_exists=True,
    )
    described: dict[str, Any] = {
        "dataset": plan.dataset,
        "cell": plan.recipe.kind,
        "data_sha256": plan.data_sha256,
        "code_revision": code_revision(),
        "config": plan.config.model_dump(mode="json", exclude={"storage"}),  # which may hold a password
        "default": default_values(plan.recipe, plan.config.space),
        "objectives": list(plan.config.objectives),
    }
    for name, value in described.items():
        if study.user_attrs.get(name) != value:
            study.set_user_attr(name, value)
    # The default goes first, so that its own validation skill stands beside the best one's.
    if plan.config.sampler != "grid" and not study.trials and holds(plan.config.space, described["default"]):
        study.enqueue_trial(described["default"])
    return study


def find_study(plan: Plan, root: Path) -> optuna.Study:
    """The study of a plan, if it was begun.

    Raises:
        StudyError: if it wasn't, or the storage can't be opened.
    """
    storage = open_storage(plan.config.storage, root)
    try:
        return optuna.load_study(study_name=plan.name, storage=storage, pruner=make_pruner(plan.config))
    except KeyError:
        raise StudyError(
            f"{plan.dataset}: no study of params.yaml as it is now, with these data and this code (it would be {plan.name}). "
            f"Begin it: carrossel study run {plan.dataset}; or name one that carrossel study status shows by --study."
        ) from None


def run_study(
    plan: Plan,
    bars: pd.DataFrame,
    root: Path,
    *,
    open_run: OpenRun,
    progress: Progress,
    finish: Callable[[Journal, optuna.Study], None] | None = None,
) -> optuna.Study:
    """Run trials until the study has as many complete or pruned ones as asked.

    Nothing from the test part's first row on is handed to a trial. What was finished before stays; a study that has all its
    trials costs nothing more.

    Args:
        finish: called at the end with the study's run still open, such as to log its figures; not where nothing was run.

    Raises:
        SeriesTooShort: if the bars don't hold the longest lookback of the space.
        StudyError: if no trial completes, or the storage can't be written.
        TrainingError: if the scheduler dies.
    """
    config, recipe = plan.config, plan.recipe
    study = open_study(plan, root)
    wanted = min(config.trials, count_grid(config)) if config.sampler == "grid" else config.trials
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))) >= wanted:
        return study
    rows = study_rows(bars, recipe, config.space, config.folds, plan.dataset)
    scratch = root / ".carrossel" / "tuning" / plan.dataset
    held = Held.share(plan.dataset, bars.iloc[: rows.end], rows.folds, scratch if config.scheduler is None else None)
    tags = {"cell": recipe.kind, "data_sha256": plan.data_sha256}
    with (
        open_crew(config, held, scratch / "workers", "tuning") as crew,
        open_journal(study, plan.dataset, recipe.kind, tags, open_run) as journal,
    ):
        draw_next, left = Samplers(config).for_trial, partial(points_left, config)
        conduct([Ongoing(study, plan.label, wanted, partial(_job, plan), draw_next, journal, left)], crew, progress)
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            raise StudyError(f"{plan.label}: {_why_none(study)}")
        if finish:
            finish(journal, study)
    return study


def best_trial(study: optuna.Study) -> FrozenTrial:
    """The complete trial of the highest skill; of several as good the first.

    Raises:
        StudyError: if no trial is complete.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        raise StudyError(f"study {study.study_name} has no complete trial yet.")
    return max(complete, key=lambda trial: (_skill(trial), -trial.number))


def best_recipe(study: optuna.Study, plan: Plan) -> Recipe:
    """The recipe of the best trial, with the full number of epochs.

    Raises:
        StudyError: see `best_trial`.
    """
    return apply(plan.recipe, best_trial(study).params, plan.params)


def _job(plan: Plan, trial: optuna.Trial) -> Job:
    recipe = draw(plan.recipe, plan.config.space, trial, plan.params)
    training = recipe.training.model_copy(update={"epochs": plan.config.epochs})
    return Job(
        study=plan.name,
        number=trial.number,
        name=f"{plan.label} trial {trial.number}",
        recipe=replace(recipe, training=training),
        objectives=plan.config.objectives,
        by_fold=plan.config.pruner == "wilcoxon",
        prunable=plan.config.pruner != "none",
    )


def _skill(trial: FrozenTrial) -> float:
    return float(trial.values[0])  # noqa: PD011 - Optuna's trial, no frame


def _kinds(space: dict[str, Space]) -> tuple[str, ...]:
    return tuple(str(kind) for kind in space["cell.kind"].ends) if "cell.kind" in space else ()


def _why_none(study: optuna.Study) -> str:
    trials = study.get_trials(deepcopy=False)
    reasons = [str(trial.user_attrs["reason"]) for trial in trials if failed_by_itself(trial)]
    last = f"; the last: {reasons[-1]}" if reasons else ""
    return f"none of {len(trials)} trials completed{last}. Narrow tuning.space (learning rates first)."
