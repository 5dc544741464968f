"""One task: fit a model on one fold's training window and forecast the fold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from carrossel.errors import ConfigError, SeriesTooShort, TrainingError
from carrossel.forecaster.stored import quantile_columns
from carrossel.targets.base import QUANTILES, make_target, quantile_column
from carrossel.training.fingerprint import digest_source
from carrossel.windows.features import compute_features
from carrossel.windows.forecast_rows import forecast_rows
from carrossel.windows.splitting import complete_origins
from carrossel.windows.tensor import columns_of, usable_rows, window_series

if TYPE_CHECKING:
    import pandas as pd

    from carrossel.targets.base import TargetConfig
    from carrossel.walk_forward.folds import Fold
    from carrossel.walk_forward.plan import Task
    from carrossel.windows.config import Windows
    from carrossel.windows.tensor import WindowedSeries

_ROOMS = ("targets", "windows", "cells", "forecaster", "diagnostics", "baselines", "training", "walk_forward")


@cache
def source_digest() -> str:
    """Digest of the source that decides a task's result, as this process found it when first asked: edits come later."""
    return digest_source(_ROOMS)


@dataclass(frozen=True)
class Series:
    """What all tasks of one dataset share.

    Args:
        bars: canonical bars.
        code: digest of the source that the driver runs.
    """

    dataset: str
    bars: pd.DataFrame
    folds: list[Fold]
    windows: Windows
    target: TargetConfig
    code: str


def run_task(series: Series, task: Task) -> pd.DataFrame:
    """Forecasts of one fold by a model fitted on nothing that came after its training window.

    Returns:
        dataset, model, seed, fold; then the columns of `forecast_rows`: truth and forecasts in the target's unit; then q05 … q95,
        NaN where the model says nothing of quantiles. One row per origin and horizon, oldest first.

    Raises:
        SeriesTooShort: if a rolling window is shorter than what a feature looks back on.
        TrainingError: if the loss isn't finite, or this worker runs other code than the driver.
    """
    name = f"{series.dataset} {task}"
    if source_digest() != series.code:
        raise TrainingError(
            f"{task}: this worker runs other code than the driver. Install the driver's version on every worker, or, if the "
            "code was edited meanwhile, run again."
        )
    fold = series.folds[task.fold]
    target = make_target(series.target)
    whole = window_series(series.bars.iloc[: fold.end], series.windows, target, name, fold.split)
    data = whole if fold.first_row == 0 else _roll(series, fold, name)
    try:
        found = task.model.forecast(data, task.seed, name)
    except TrainingError as error:
        raise TrainingError(f"{task}: {str(error).removeprefix(f'{name}: ')}") from None
    # Truth and naive forecast are the whole series' own: they can't depend on where a training window began.
    rows = forecast_rows(whole, fold.split.test, found.point, quantile_columns(found))
    which: dict[str, Any] = {"dataset": series.dataset, "model": task.model.name, "seed": task.seed, "fold": task.fold}
    quantiles = [quantile_column(level) for level in QUANTILES]
    point = [column for column in rows if column not in quantiles]
    return rows.assign(**which).reindex(columns=[*which, *point, *quantiles])


def _roll(series: Series, fold: Fold, name: str) -> WindowedSeries:
    """The windows as if the series began with the fold's first row in sight."""
    bars = series.bars.iloc[fold.first_row : fold.end]
    split = fold.split_in_sight()
    try:
        present = usable_rows(compute_features(bars, series.windows.features), columns_of(bars))
    except ConfigError:  # a feature has no value at all in these bars, though it has in the series
        present = np.zeros(len(bars), dtype=bool)
    complete = complete_origins(present, series.windows.lookback, series.windows.horizons[-1])
    train, validation = (np.intersect1d(split.origins(part), complete) for part in ("train", "validation"))
    if not len(train) or not len(validation) or not np.isin(split.test, complete).all():
        raise SeriesTooShort(
            f"{name}: walk_forward.rolling_bars leaves {split.train_rows} bars to train on, too few for what the features "
            f"{', '.join(series.windows.features)} look back on. Raise it, or choose shorter features."
        )
    split = replace(split, train=train, validation=validation)
    return window_series(bars, series.windows, make_target(series.target), name, split)
