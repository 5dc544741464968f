"""Which studies a storage holds, and how each is doing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState

from carrossel.errors import StudyError
from carrossel.tuning.storage import explaining, list_studies, lost_with_drivers

if TYPE_CHECKING:
    from datetime import datetime

    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Doing:
    """How a study is doing.

    Args:
        asked: complete or pruned trials its last driver was to end with; None if it didn't say.
        failed: by themselves.
        repeated: lost with a killed driver and queued again; they count for nothing.
        best: highest skill, of trial `best_trial`.
        last: when a trial last began or ended, by the clock of its driver.
        alive: whether a trial is running whose driver's heart beats.
    """

    name: str
    dataset: str
    cell: str
    asked: int | None
    complete: int
    pruned: int
    failed: int
    repeated: int
    running: int
    waiting: int
    best: float | None
    best_trial: int | None
    last: datetime | None
    alive: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"last": self.last.isoformat(timespec="seconds") if self.last else None}


def survey(storage: RDBStorage) -> list[Doing]:
    """Every study there is, the one that did something last first.

    Raises:
        StudyError: if the storage can't be read.
    """
    with explaining(storage):
        studies = [_look(storage, study.study_name) for study in list_studies(storage)]
    return sorted(studies, key=lambda study: (study.last is not None, study.last), reverse=True)


def load_study(storage: RDBStorage, name: str) -> optuna.Study:
    """A study by its name.

    Raises:
        StudyError: if there is none of that name, or the storage can't be read.
    """
    with explaining(storage):
        names = [study.study_name for study in list_studies(storage)]
        if name in names:
            return optuna.load_study(study_name=name, storage=storage)
    raise StudyError(f"no study is called {name!r}; there are: {', '.join(names) or 'none'}.")


def _look(storage: RDBStorage, name: str) -> Doing:
    study = optuna.load_study(study_name=name, storage=storage)
    trials, about = study.get_trials(deepcopy=False), study.user_attrs
    by_state: dict[TrialState, list[FrozenTrial]] = {state: [] for state in TrialState}
    for trial in trials:
        by_state[trial.state].append(trial)
    lost = lost_with_drivers(trials)
    failed = [trial for trial in by_state[TrialState.FAIL] if trial.number not in lost]
    best = max(((t.values[0], -t.number) for t in by_state[TrialState.COMPLETE]), default=None)
    times = [time for trial in trials for time in (trial.datetime_start, trial.datetime_complete) if time]
    stale = set(storage._get_stale_trial_ids(study._study_id))  # noqa: SLF001 - Optuna tells nobody but its own loop
    return Doing(
        name=name,
        dataset=about.get("dataset", ""),
        cell=about.get("cell", ""),
        asked=about.get("config", {}).get("trials"),
        complete=len(by_state[TrialState.COMPLETE]),
        pruned=len(by_state[TrialState.PRUNED]),
        failed=len(failed),
        repeated=len(by_state[TrialState.FAIL]) - len(failed),
        running=len(by_state[TrialState.RUNNING]),
        waiting=len(by_state[TrialState.WAITING]),
        best=best[0] if best else None,
        best_trial=-best[1] if best else None,
        last=max(times, default=None),
        alive=any(trial._trial_id not in stale for trial in by_state[TrialState.RUNNING]),  # noqa: SLF001 - as above
    )
