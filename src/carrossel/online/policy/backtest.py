"""Run every policy through the test part; a fit that several policies ask for is made once and counted for each."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from carrossel.online.policy.calendar import read_calendar
from carrossel.online.policy.fits import Job, fits_digest, refit
from carrossel.online.policy.parts import Key, Parts, key_of
from carrossel.online.policy.policies import list_policies
from carrossel.online.policy.workers import ThisProcess, Workers, open_workers
from carrossel.walk_forward.task import Series, source_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from carrossel.online.policy.courses import Course, Monitor
    from carrossel.online.policy.plan import Plan
    from carrossel.online.policy.policies import RetrainingPolicy
    from carrossel.targets.base import Unit
    from carrossel.walk_forward.folds import Fold

_WORKERS_PAY_S = 30
"""CPU seconds of fits from which on processes of their own are worth the seconds they take to start."""


@dataclass(frozen=True)
class Outcome:
    """What came of one policy.

    Args:
        fits: the first one included.
        cpu_seconds: of all its fits, those that other policies share included.
        rows: `origin`, `unchanged`, `truth`, `forecast` at the nearest horizon, in time order.
    """

    policy: RetrainingPolicy
    fits: int
    cpu_seconds: float
    rows: pd.DataFrame


@dataclass(frozen=True)
class Backtest:
    """All policies on the same rows.

    Args:
        horizon: bars ahead, the nearest there is.
        key: what identifies the work besides the policies: model, question, data and code.
        notes: sentences for whoever asked.
    """

    dataset: str
    model: str
    unit: Unit
    horizon: int
    key: str
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...] = ()


def backtest(
    bars: pd.DataFrame, plan: Plan, *, data_sha256: str, scratch: Path, monitor: Callable[[], Monitor]
) -> Backtest:
    """Let time run through the test part once per policy.

    The first fit has the training and validation parts that `train` has, so `never expanding` forecasts what `train` does. At each
    retraining time the model is fitted anew, from scratch and with the same seed, on what was known then but for the lookback
    before it, as a walk-forward's fold is; the share kept to validate stays that of the first fit. It forecasts until the
    next one.

    Each finished fit lies in `scratch`, so that a killed backtest goes on with what is missing.

    Args:
        scratch: folder of this dataset's fits alone.
        monitor: makes a fresh monitor of drift.

    Raises:
        SeriesTooShort: if a part gets no window, or a rolling window is too short to fit on.
        ConfigError: if a time between refits is less than a bar.
        TrainingError: if a fit fails; what is finished is kept.
    """
    calendar = read_calendar(bars, plan)
    windows, target = plan.question
    key = plan.fingerprint(data_sha256, fits_digest())
    parts = Parts(scratch / plan.model.name / key[:24])
    parts.forget_others()
    policies = list_policies(plan.policy)
    notes: tuple[str, ...] = ()
    if not calendar.rolls:
        policies = tuple(policy for policy in policies if policy.window == "expanding")
        few = f"there are no more than online.policy.rolling_bars = {plan.policy.rolling_bars} bars to fit on"
        notes = (f"policy@{plan.dataset}: without rolling windows, since {few}.",)
    courses = {policy: calendar.course(policy, monitor) for policy in policies}
    job = Job(Series(plan.dataset, bars, [], windows, target, source_digest()), plan.model, plan.seed)
    with _count_fits(plan.dataset) as progress:
        _run(list(courses.values()), calendar.first, _Fits(job, parts, plan, scratch), progress)
    outcomes = tuple(_outcome(policy, course, parts, windows.horizons[0]) for policy, course in courses.items())
    return Backtest(plan.dataset, plan.model.name, plan.unit, windows.horizons[0], key, outcomes, notes)


@dataclass(frozen=True)
class _Fits:
    job: Job
    parts: Parts
    plan: Plan
    scratch: Path

    def workers(self, first: Fold, missing: int) -> AbstractContextManager[Workers]:
        """Processes of their own where they pay, which the cost of the first fit tells."""
        if first not in self.parts:
            self.parts.write(first, refit(self.job, first))
        seconds = float(self.parts.read(first)["cpu_seconds"].iloc[0])
        walk = self.plan.walk
        alone = walk.scheduler is None and walk.workers == 1
        if alone or seconds * missing < _WORKERS_PAY_S:
            return nullcontext(ThisProcess(self.job))
        return open_workers(self.job, walk, self.scratch / "workers")


def _run(courses: list[Course], first: Fold, fits: _Fits, progress: Callable[[int, int], None]) -> None:
    """Bring every course to its end.

    Args:
        progress: told how many fits are done and how many are known to be wanted.
    """
    parts = fits.parts
    asked = [(course, fold) for course in courses for fold in course.begin()]
    missing = {key_of(fold) for _, fold in asked if fold not in parts}
    with fits.workers(first, len(missing)) as workers:
        waiting: dict[Key, list[Course]] = {}
        wanted: set[Key] = set()
        ready: list[tuple[Course, Fold]] = []

        def ask(course: Course, fold: Fold, *, urgent: bool) -> None:
            wanted.add(key_of(fold))
            if fold in parts:
                ready.append((course, fold))
            elif key_of(fold) in waiting:
                waiting[key_of(fold)].append(course)
            else:
                waiting[key_of(fold)] = [course]
                workers.submit(fold, urgent=urgent)

        def go_on() -> None:
            while ready:
                course, fold = ready.pop()
                for further in course.take(fold, partial(parts.read, fold)):
                    ask(course, further, urgent=True)  # nothing else of this course can go on before it
            progress(len(wanted) - len(waiting), len(wanted))

        for course, fold in asked:
            ask(course, fold, urgent=False)
        go_on()
        for fold, part in workers.finished():
            parts.write(fold, part)
            ready.extend((course, fold) for course in waiting.pop(key_of(fold)))
            go_on()


def _outcome(policy: RetrainingPolicy, course: Course, parts: Parts, horizon: int) -> Outcome:
    seconds, rows = [], []
    for service in course.services:
        part = parts.read(service.fold)
        seconds.append(float(part["cpu_seconds"].iloc[0]))
        served = part[(part["horizon"] == horizon) & (part["row"] >= service.start) & (part["row"] < service.end)]
        rows.append(served[["origin", "unchanged", "truth", "forecast"]])
    return Outcome(policy, len(seconds), sum(seconds), pd.concat(rows, ignore_index=True))


@contextmanager
def _count_fits(dataset: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal; nothing where there is none."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("fits"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(f"policy@{dataset}", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
