"""Which rows a study may see, cut into folds: the same for every trial, whatever it draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import TimeSeriesSplit

from carrossel.errors import SeriesTooShort
from carrossel.targets.base import make_target
from carrossel.tuning.config import LIST_SEPARATOR
from carrossel.windows.features import compute_features
from carrossel.windows.splitting import Split, complete_origins, split_origins
from carrossel.windows.tensor import answered_rows, columns_of, usable_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from carrossel.training.config import Recipe
    from carrossel.tuning.config import Choice, Space
    from carrossel.windows.config import Windows


@dataclass(frozen=True)
class Rows:
    """What the driver hands out.

    Args:
        end: the test part begins at this row; nothing from there on leaves the driver.
        folds: origins to train and to validate on, oldest fold first; nothing to test on. Training origins have stride 1: a
            trial thins them out by its own.
    """

    end: int
    folds: tuple[Split, ...]


def study_rows(bars: pd.DataFrame, recipe: Recipe, space: Mapping[str, Space], folds: int, name: str) -> Rows:
    """Rows that the widest question of the space can answer: its longest lookback, every feature and target it may draw.

    One fold is the recipe's own training and validation part. With more, the rows before the test part are cut into folds + 1
    blocks of equal length; each of the last is validated on by who trained on all before it. A fold's validation windows begin
    behind its training rows, labels included, so no bar is in both.

    Args:
        name: what messages call the series.

    Raises:
        SeriesTooShort: if a fold gets no window to train or to validate on.
    """
    windows = widest(recipe.windows, space)
    columns = columns_of(bars)
    present = usable_rows(compute_features(bars, windows.features), columns)
    kinds = _choices(space, "target.kind", recipe.target.kind)
    targets = [make_target(recipe.target.model_copy(update={"kind": kind})) for kind in kinds]
    answered = np.all([answered_rows(columns, target, windows.horizons) for target in targets], axis=0)
    nothing: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    end = int(len(bars) * (windows.train + windows.validation))
    if folds == 1:
        split = split_origins(present, windows, name, answered)
        return Rows(end, (replace(split, test=nothing),))
    lookback, furthest = windows.lookback, windows.horizons[-1]
    origins = complete_origins(present, lookback, furthest)
    origins = origins[answered[origins]]
    cut: list[Split] = []
    for before, block in TimeSeriesSplit(folds).split(np.empty(end)):
        start, stop = len(before), int(block[-1]) + 1
        split = Split(
            train=origins[origins + furthest < start],
            validation=origins[(origins >= start + lookback) & (origins + furthest < stop)],
            test=nothing,
            train_rows=start,
        )
        if not len(split.train) or not len(split.validation):
            raise SeriesTooShort(
                f"{name}: fold {len(cut) + 1} of {folds} has no window of lookback={lookback}, horizon={furthest} to train or to "
                f"validate on (bars {start} to {stop}). Lower tuning.folds or the longest lookback, or bring more bars."
            )
        cut.append(split)
    return Rows(end, tuple(cut))


def widest(windows: Windows, space: Mapping[str, Space]) -> Windows:
    """The longest lookback and all features that a trial may draw; stride 1: each trial thins out what it trains on by its own."""
    lookbacks = [windows.lookback] if "windows.lookback" not in space else list(space["windows.lookback"].ends)
    named = _choices(space, "windows.features", LIST_SEPARATOR.join(windows.features))
    features = dict.fromkeys(feature for names in named for feature in str(names).split(LIST_SEPARATOR))
    update = {"lookback": max(int(lookback) for lookback in lookbacks), "features": tuple(features), "stride": 1}
    return windows.model_copy(update=update)


def _choices(space: Mapping[str, Space], key: str, default: Choice) -> tuple[Choice, ...]:
    return tuple(space[key].ends) if key in space else (default,)
