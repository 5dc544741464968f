"""The driver: asks Optuna for trials, hands them out, prunes, writes down how they ended; alone in doing so."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import Trial, TrialState

from carrossel.errors import CarrosselError, StudyError
from carrossel.tuning.progress import Best
from carrossel.tuning.storage import beating, failed_by_itself, first_number, give_up, retry_stale
from carrossel.tuning.trial import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import optuna
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from carrossel.tuning.crew.base import Crew
    from carrossel.tuning.journal import Journal
    from carrossel.tuning.progress import Progress
    from carrossel.tuning.storage import Heartbeats
    from carrossel.tuning.trial import Job, Point

T = TypeVar("T")
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_POLL_S, _LOOK_S = 0.5, 2.0
_FIXED = "fixed_params"  # Optuna's mark of a trial whose values were given
_TRIES, _WAIT_S = 8, 0.5


@dataclass(frozen=True)
class Ongoing:
    """A study and what the driver needs to go on with it.

    Args:
        label: what people call it, such as `tune@bitcoin`.
        trials: complete or pruned trials it is to end with.
        job: from a trial, by drawing its values.
        sampler: who draws the trial of a number.
        journal: its runs; None where trials aren't tracked.
        left: how many trials may still be asked for, such as points of a grid; None where there is no end.
    """

    study: optuna.Study
    label: str
    trials: int
    job: Callable[[optuna.Trial], Job]
    sampler: Callable[[optuna.Study, int], BaseSampler]
    journal: Journal | None = None
    left: Callable[[Sequence[FrozenTrial]], int | None] = lambda _: None

    def look(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in one of these states, whoever runs them; all of them if none is named."""
        return _insist(lambda: self.study.get_trials(deepcopy=False, states=states or None))

    def may_ask(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether another trial may be begun beside those that run."""
        begun = count(trials, *FINISHED, TrialState.RUNNING)
        return self._is_open(trials) and begun < self.trials and self.left(trials) != 0

    def is_done(self) -> bool:
        """Whether nothing is left to begin or to wait for."""
        trials = self.look()
        return not (self.may_ask(trials) or (self._is_open(trials) and count(trials, TrialState.RUNNING)))

    def _is_open(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether it still lacks trials, and some are still worth trying."""
        return count(trials, *FINISHED) < self.trials and sum(map(failed_by_itself, trials)) < self.trials


def conduct(ongoing: Sequence[Ongoing], crew: Crew, progress: Progress) -> None:
    """Run every study to the trials it asks for.

    A trial that fails is replaced by another, until as many failed as were asked for. Trials of a driver that was killed are
    queued again once their heartbeats are stale; those of a living one are waited for.

    Args:
        ongoing: all in one storage.

    Raises:
        TrainingError: if the crew can't go on; running trials are queued again.
        StudyError: if the storage can't be written.
    """
    with beating(ongoing[0].study._storage) as beats:  # noqa: SLF001 - a study doesn't show what it was opened with
        driver = _Driver(ongoing, progress, beats)
        try:
            while True:
                crew.run(driver)
                if all(each.is_done() for each in ongoing):
                    return
                time.sleep(_POLL_S)  # for others' trials: a living driver's, or a killed one's that aren't stale yet
        finally:
            driver.give_back()


@dataclass
class _Running:
    ongoing: Ongoing
    trial: optuna.Trial
    last_step: int = -1

    @property
    def queued(self) -> bool:
        """Whether its values were given, not drawn."""
        return _FIXED in self.trial._cached_frozen_trial.system_attrs  # noqa: SLF001 - a trial doesn't show it otherwise

    def note(self, step: int, value: float) -> None:
        """Write an intermediate value down, once."""
        if step > self.last_step and len(self.ongoing.study.directions) == 1:
            self.trial.report(value, step)
            self.last_step = step


class _Driver:
    """The desk that a crew works for; see `crew.base.Desk`."""

    def __init__(self, ongoing: Sequence[Ongoing], progress: Progress, beats: Heartbeats) -> None:
        self._ongoing, self._progress, self._beats = ongoing, progress, beats
        self._running: dict[str, _Running] = {}
        self._looked = float("-inf")

    def next_job(self) -> Job | None:
        self._wake_stale()
        for each in self._ongoing:
            while each.may_ask(trials := each.look()):
                each.study.sampler = _insist(partial(each.sampler, each.study, _next_number(trials)))
                trial = _ask(each.study)
                self._beats.add(trial._trial_id)  # noqa: SLF001 - heartbeats go by id, which a trial doesn't show
                running = _Running(each, trial)
                try:
                    job = _insist(partial(each.job, trial))
                except CarrosselError as error:
                    self._end(running, Outcome("failed", reason=str(error)))
                    continue
                self._running[job.name] = running
                self._progress.started(each.label, trial.number, trial.params)
                return job
        return None

    def _wake_stale(self) -> None:
        """Queue a killed driver's trials again; asked now and then, since it costs a query."""
        if time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        for each in self._ongoing:
            _insist(partial(retry_stale, each.study))

    def report(self, job: Job, point: Point) -> bool:
        running = self._running[job.name]
        self._progress.reported(running.ongoing.label, running.trial.number, point)
        # A trial whose worker died begins anew on another and tells what was told before.
        if not job.prunable or point.step <= running.last_step:
            return False
        try:
            _insist(partial(running.note, point.step, point.value))
            # A trial that was queued is one that somebody wants to know, such as the default.
            return not running.queued and _insist(running.trial.should_prune)
        except UpdateFinishedTrialError:  # see _end
            return True

    def end(self, job: Job, outcome: Outcome) -> None:
        running = self._running.pop(job.name)
        # What wasn't told on the way, as nothing could come of it, or was lost on it.
        values: dict[int, list[float]] = {}
        for point in outcome.curve:
            values.setdefault(point.step, []).append(point.skill if job.by_fold else point.value)
        self._end(running, outcome, {step: max(found) for step, found in values.items()})

    def give_back(self) -> None:
        """Queue what is still running again, with the same values; a driver that is killed leaves that to its heartbeats."""
        for running in self._running.values():
            # Where the database is what ended the driver, the heartbeats tell the next one.
            with suppress(StorageInternalError, UpdateFinishedTrialError):
                give_up(running.ongoing.study, running.trial)

    def _end(self, running: _Running, outcome: Outcome, curve: Mapping[int, float] = MappingProxyType({})) -> None:
        each, trial = running.ongoing, running.trial
        kept: dict[str, Any] = {"seconds": round(outcome.seconds, 3), "parameters": outcome.parameters}
        kept |= {"epochs": len(outcome.curve), **({"reason": outcome.reason} if outcome.reason else {})}
        try:
            for step, value in curve.items():
                _insist(partial(running.note, step, value))
            for name, value in kept.items():
                _insist(partial(trial.set_user_attr, name, value))
        except UpdateFinishedTrialError:
            # Another driver took this one for dead, as after a laptop's sleep, and queued the trial again: there it counts.
            self._beats.remove(trial._trial_id)  # noqa: SLF001 - see next_job
            return
        if each.journal:
            each.journal.record(_insist(lambda: each.study.get_trials(deepcopy=True)[trial.number]), outcome)
        _insist(lambda: _tell(each.study, trial, outcome))
        self._beats.remove(trial._trial_id)  # noqa: SLF001 - see next_job
        finished = each.look(*FINISHED)
        complete = (one for one in finished if one.state == TrialState.COMPLETE)
        best = max(((one.values[0], -one.number) for one in complete), default=None)
        self._progress.ended(
            each.label,
            trial.number,
            outcome,
            finished=len(finished),
            trials=each.trials,
            best=Best(-best[1], best[0]) if best else None,
        )


def count(trials: Iterable[FrozenTrial], *states: TrialState) -> int:
    """How many are in one of these states."""
    return sum(trial.state in states for trial in trials)


def _next_number(trials: Iterable[FrozenTrial]) -> int:
    """Of the next trial's draw: a repeated trial draws nothing, so a disturbed study draws what an undisturbed one would."""
    return sum(first_number(trial) == trial.number for trial in trials if trial.state != TrialState.WAITING)


def _ask(study: optuna.Study) -> Trial:
    """As `Study.ask`, but a read that fails doesn't make the trial twice: the first would run for nobody."""
    study._thread_local.cached_all_trials = None  # noqa: SLF001 - here and below as ask does it
    trial_id = _insist(study._pop_waiting_trial_id)  # noqa: SLF001
    if trial_id is None:
        trial_id = _insist(partial(study._storage.create_new_trial, study._study_id))  # noqa: SLF001
    return _insist(partial(Trial, study, trial_id))


def _tell(study: optuna.Study, trial: optuna.Trial, outcome: Outcome) -> None:
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    values = list(outcome.values) if outcome.state == "complete" else None
    # A write that was repeated may have come through the first time.
    study.tell(trial, values, state=states[outcome.state], skip_if_finished=True)


def _insist(write: Callable[[], T]) -> T:
    """Try again for a while: a database may be locked, full or away for a moment.

    Raises:
        StudyError: if it stays so.
    """
    for attempt in range(_TRIES):
        try:
            return write()
        except StorageInternalError as error:
            reason = " ".join(str(error.__cause__ or error).split())
            time.sleep(_WAIT_S * attempt)
    raise StudyError(
        f"the studies' database can't be written: {reason[:300]}. Mend it and run again: finished trials are kept, running ones "
        "are repeated."
    )
