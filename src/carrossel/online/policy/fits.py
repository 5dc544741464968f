"""One refit: the model fitted on what was known at a bar, its forecasts of all bars after it, and what it cost."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from carrossel.errors import SeriesTooShort
from carrossel.files import sha256
from carrossel.walk_forward.models import NetworkModel
from carrossel.walk_forward.plan import Task
from carrossel.walk_forward.task import Series, run_task, source_digest

if TYPE_CHECKING:
    import pandas as pd

    from carrossel.forecaster.stored import Forecast
    from carrossel.walk_forward.folds import Fold
    from carrossel.walk_forward.models import Model
    from carrossel.windows.tensor import WindowedSeries

_WARM_WINDOWS = 512
_warm: set[str] = set()


@cache
def fits_digest() -> str:
    """Digest of the source that decides what a fit leaves."""
    return f"{source_digest()}{sha256(Path(__file__))}"


@dataclass(frozen=True)
class Job:
    """What all fits of a backtest share.

    Args:
        series: its folds are left aside.
    """

    series: Series
    model: Model
    seed: int


def refit(job: Job, fold: Fold) -> pd.DataFrame:
    """Fit on a fold's training window and forecast the fold.

    Returns:
        One row per origin and horizon, oldest first: `row` and `origin` of the window's last bar (number and timestamp),
        `horizon`, `last_close`, `unchanged`, `truth`, `forecast`; and, the same in every row, `cpu_seconds` of the fit without
        its forecasts.

    Raises:
        SeriesTooShort: see `run_task`.
        TrainingError: if the loss isn't finite.
    """
    # Imported here, where OMP_NUM_THREADS may be set: sums over several threads come in any order, and a fit would cost more
    # CPU time the more cores it finds.
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    clocked = _Clocked(job.model)
    try:
        with threadpool_limits(limits=1):
            # the protocol of a model is all that a task asks for
            task = Task(clocked, job.seed, 0)  # type: ignore[arg-type]
            rows = run_task(replace(job.series, folds=[fold]), task)
    except SeriesTooShort as error:
        raise SeriesTooShort(str(error).replace("walk_forward.rolling_bars", "online.policy.rolling_bars")) from None
    finally:
        torch.set_num_threads(threads)
    horizons = len(job.series.windows.horizons)
    kept = ["origin", "horizon", "last_close", "unchanged", "truth", "forecast"]
    return rows[kept].assign(row=np.repeat(fold.split.test, horizons), cpu_seconds=clocked.seconds)


@dataclass
class _Clocked:
    """A model that notes what its fit cost."""

    model: Model
    seconds: float = field(default=float("nan"), init=False)

    @property
    def name(self) -> str:
        return self.model.name

    def forecast(self, data: WindowedSeries, seed: int, name: str) -> Forecast:
        _warm_up(self.model, data, seed)
        begin = time.process_time()
        fitted = self.model.fit(data, seed, name)
        self.seconds = time.process_time() - begin
        return fitted(data.split.test)


def _warm_up(model: Model, data: WindowedSeries, seed: int) -> None:
    """A process's first fit of a kind imports libraries, loads kernels and asks for memory, which is no cost of retraining."""
    if model.name in _warm:
        return
    _warm.add(model.name)
    split = data.split
    few = replace(split, train=split.train[-_WARM_WINDOWS:], validation=split.validation[-_WARM_WINDOWS:])
    with suppress(Exception):  # the real fit says what is wrong
        # A network learns in batches, so a few are like all; a baseline takes the whole at once, and not long.
        model.fit(replace(data, split=few) if isinstance(model, NetworkModel) else data, seed, "warming up")
