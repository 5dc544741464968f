"""Train a small network on the training part and look into it on the test part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from carrossel.errors import TrainingError
from carrossel.lab.units.quantities import measure_windows, rank_correlations
from carrossel.lab.units.ranking import rank_units
from carrossel.lab.units.shuffling import shuffle_bars
from carrossel.lab.units.states import look_inside
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import make_target
from carrossel.training.fitting import fit, naive_mse
from carrossel.windows.splitting import complete_origins
from carrossel.windows.tensor import scale_features, window_series

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from carrossel.forecaster.heads.binned import Binned
    from carrossel.lab.units.states import Inside
    from carrossel.training.config import Recipe

    Values = NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    """What was found, window by window of the test part, oldest first.

    Args:
        recipe: what was trained.
        has_memory: whether `inside.memory` is a C, of which h sees the tanh; else it is h.
        skill: on the validation part, of the epoch whose weights were kept: 1 − MSE / MSE of 'tomorrow = today'.
        rows: row of each window's last bar, shape [windows].
        timestamps: of these bars, UTC.
        closes: of these bars.
        moves: mean move of each of the head's bins in the training part, %, shape [bins].
        came: the bin that the next move fell into, shape [windows].
        ranking: see `rank_units`.
    """

    recipe: Recipe
    has_memory: bool
    skill: float
    rows: NDArray[np.int64]
    timestamps: NDArray[np.datetime64]
    closes: Values
    inside: Inside
    moves: Values
    came: NDArray[np.int64]
    ranking: pd.DataFrame

    @property
    def signal(self) -> Values:
        """tanh(C) of each unit, or h for a cell without C: what the colours show; shape [windows, units]."""
        return np.tanh(self.inside.memory) if self.has_memory else self.inside.memory

    @property
    def symbol(self) -> str:
        """What `signal` is called."""
        return "tanh(C)" if self.has_memory else "h"


def study_units(bars: pd.DataFrame, recipe: Recipe) -> Study:
    """Fit the recipe's network, run the test part through it, and a shuffled one as control.

    Args:
        bars: canonical bars.
        recipe: with the binned head and one horizon; its seed is the control's too.

    Raises:
        SeriesTooShort: if a part gets no window.
        TrainingError: if the price doesn't move, or the loss isn't finite.
    """
    data = window_series(bars, recipe.windows, make_target(recipe.target), recipe.dataset)
    if not naive_mse(data) > 0:  # skill would be a division by it
        raise TrainingError(
            f"The price of {recipe.dataset} doesn't move in the validation part. Name another lab.dataset."
        )
    fitted = fit(data, recipe, MemoryRecorder(), name="units", diagnose=False)
    network, lookback = fitted.network, data.lookback
    rows = data.split.test
    inside = look_inside(network, data.series, lookback, rows)

    # The first test window's own bars are the first that may move: what a window before them has seen stays as it was.
    shuffled = shuffle_bars(bars, int(rows[0]) - lookback + 1, recipe.training.seed)
    series = scale_features(shuffled, recipe.windows, data.feature_scaler)
    complete = complete_origins(np.isfinite(series.numpy()).all(axis=1), lookback, 0)
    control_rows = np.intersect1d(rows, complete)
    control = look_inside(network, series, lookback, control_rows)

    head = cast("Binned", network.head)
    centers = data.label_scaler.inverse(head.centers.T.double().numpy())
    return Study(
        recipe=recipe,
        has_memory=network.cells[-1].has_memory,
        skill=float(fitted.history[fitted.best_epoch]["validation_skill"]),
        rows=rows,
        timestamps=data.timestamps[rows],
        closes=data.bars["close"][rows],
        inside=inside,
        moves=100 * np.expm1(centers[:, 0]),
        came=head.bin(data.labels[rows])[:, 0].numpy(),
        ranking=rank_units(
            rank_correlations(inside.memory, measure_windows(data.bars["close"], lookback, rows)),
            rank_correlations(
                control.memory, measure_windows(shuffled["close"].to_numpy(np.float64), lookback, control_rows)
            ),
        ),
    )
