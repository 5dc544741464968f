"""One trial on a worker: fit the recipe on every fold, tell each epoch's skill, say how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

import pytorch_lightning as pl

from carrossel.errors import CarrosselError
from carrossel.recorder import MemoryRecorder
from carrossel.training.fitting import fit
from carrossel.tuning.latency import measure_latency

if TYPE_CHECKING:
    from collections.abc import Callable

    from carrossel.forecaster.network import Network
    from carrossel.training.config import Recipe
    from carrossel.tuning.config import Objective
    from carrossel.tuning.data import Held

State = Literal["complete", "pruned", "failed"]


class Point(NamedTuple):
    """What a trial knows after an epoch.

    Args:
        step: epochs spent, fold * epochs + epoch + 1, so that rungs count what a trial cost; of a study whose pruner compares
            folds, the fold.
        skill: of this epoch on this fold's validation part, 1 − MSE / MSE of 'tomorrow = today'.
        value: what the pruner compares: median of the finished folds' best skills and the best of this one so far.
    """

    step: int
    fold: int
    epoch: int
    skill: float
    value: float
    train_loss: float
    validation_loss: float


@dataclass(frozen=True)
class Job:
    """What a worker needs for a trial besides the data.

    Args:
        study: the study's name.
        number: the trial's.
        name: what messages call it, such as `tune@bitcoin trial 3`.
        recipe: with the trial's epochs.
        by_fold: report folds, not epochs.
        prunable: whether a report may end it.
    """

    study: str
    number: int
    name: str
    recipe: Recipe
    objectives: tuple[Objective, ...] = ("skill",)
    by_fold: bool = False
    prunable: bool = True


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Args:
        values: by objective, in the study's order; empty unless complete.
        curve: every epoch of every fold.
        reason: why it was pruned or failed.
        seconds: wall-clock time on the worker.
        parameters: trained numbers of the network; 0 if it was never made.
    """

    state: State
    values: tuple[float, ...] = ()
    curve: tuple[Point, ...] = ()
    reason: str = ""
    seconds: float = 0.0
    parameters: int = 0


@dataclass
class _Progress:
    """A trial between its epochs."""

    job: Job
    report: Callable[[Point], bool]
    curve: list[Point] = field(default_factory=list)
    finished: list[float] = field(default_factory=list)
    best: float = float("-inf")
    pruned: bool = False
    unheard: bool = False

    def add(self, epoch: int, skill: float, train_loss: float, validation_loss: float) -> None:
        self.best = max(self.best, skill)
        fold = len(self.finished)
        step = fold if self.job.by_fold else fold * self.job.recipe.training.epochs + epoch + 1
        value = median([*self.finished, self.best])
        self.curve.append(Point(step, fold, epoch, skill, value, train_loss, validation_loss))
        if not self.job.by_fold:
            self._tell(self.curve[-1])

    @property
    def at_the_end(self) -> bool:
        """Whether the last epoch that was asked for was run."""
        return self.curve[-1].epoch + 1 == self.job.recipe.training.epochs

    def end_fold(self) -> None:
        if self.job.by_fold:
            self._tell(self.curve[-1]._replace(value=self.best))
        self.finished.append(self.best)
        self.best = float("-inf")

    def _tell(self, point: Point) -> None:
        self.unheard = True
        self.pruned = self.report(point)
        self.unheard = False


class Reporting(pl.Callback):
    """Reports each epoch's validation skill and stops a trial that the pruner gives up.

    The integration package's callback imports `lightning` and fails with pytorch_lightning, hence these few lines.
    """

    def __init__(self, progress: _Progress) -> None:
        self.progress = progress

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del pl_module
        seen = trainer.callback_metrics
        if trainer.is_global_zero:
            self.progress.add(
                trainer.current_epoch,
                *(float(seen[name]) for name in ("validation_skill", "train_loss", "validation_loss")),
            )
        if self.progress.pruned:
            trainer.should_stop = True


def run_trial(held: Held, job: Job, report: Callable[[Point], bool]) -> Outcome:
    """Run a trial to its end, whatever that is.

    A trial that can't go on (values that no section allows together, a loss that isn't finite, no memory, a full disk) fails
    alone: whoever runs many goes on with the next.

    Args:
        report: called after every epoch, or after every fold where `job.by_fold`.
    """
    started = time.perf_counter()
    progress = _Progress(job, report)
    network: Network | None = None

    def end(state: State, values: tuple[float, ...] = (), reason: str = "") -> Outcome:
        size = sum(weights.numel() for weights in network.parameters()) if network else 0
        return Outcome(state, values, tuple(progress.curve), reason, time.perf_counter() - started, size)

    try:
        for fold in range(held.folds):
            data = held.windowed(job.recipe.windows, job.recipe.target, fold)
            done = fit(
                data,
                job.recipe,
                MemoryRecorder(),
                name=job.name,
                callbacks=[Reporting(progress)],
                quiet=True,
                diagnose=False,
            )
            network = done.network
            progress.end_fold()
            # Who is found hopeless by the last epoch of all has paid for everything: complete.
            if progress.pruned and not (fold + 1 == held.folds and (job.by_fold or progress.at_the_end)):
                epochs = len(progress.curve)
                return end("pruned", reason=f"after {epochs} epoch{'s'[: epochs > 1]}, behind the trials before it")
        measured = {"skill": median(progress.finished), "parameters": float(end("complete").parameters)}
        if "latency" in job.objectives and network:
            measured["latency"] = measure_latency(network, data)
        return end("complete", tuple(measured[objective] for objective in job.objectives))
    except CarrosselError as error:
        if progress.unheard:  # what the driver has met isn't the trial's doing
            raise
        return end("failed", reason=str(error).removeprefix(f"{job.name}: "))
    except Exception as error:  # whatever a trial's values bring about is its own end, not the study's
        if progress.unheard:
            raise
        return end("failed", reason=f"{type(error).__name__}: {' '.join(str(error).split())}"[:1000])
