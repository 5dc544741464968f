"""Cut the test part into folds, each with the training window that was known before it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrossel.errors import SeriesTooShort
from carrossel.windows.splitting import Split, complete_origins

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from carrossel.walk_forward.config import WalkForward
    from carrossel.windows.config import Windows
    from carrossel.windows.splitting import Rows


@dataclass(frozen=True)
class Fold:
    """One refit.

    Args:
        first_row: first bar in sight; later than 0 where the training window rolls.
        end: bars from this row on are out of sight: it follows the last bar forecast.
        split: origins by part, counted from the series' first bar; `test` is what the fold forecasts.
    """

    first_row: int
    end: int
    split: Split

    def split_in_sight(self) -> Split:
        """The split counted from `first_row`."""
        split, first = self.split, self.first_row
        return Split(split.train - first, split.validation - first, split.test - first, split.train_rows - first)


def cut_folds(
    present: NDArray[np.bool_],
    windows: Windows,
    config: WalkForward,
    name: str = "the series",
    answered: NDArray[np.bool_] | None = None,
) -> list[Fold]:
    """Cut the windows of a series into folds, oldest first.

    What is forecast is the test part of `windows`, each of its origins in exactly one fold. Let a fold's rows begin at s. It
    trains and validates on bars before s − lookback − embargo alone, labels included, so no bar lies in windows or labels
    of two parts of a fold (a feature over a week may look back over the gap): its first window, and the bar before it that
    a return needs, lie behind all of them. A fold without a complete
    window, such as one inside a long gap, has nothing to forecast and is left out.

    Args:
        present: per row, whether bar and features are there, shape [time].
        name: what messages call the series.
        answered: per row, whether labels and naive labels of the window ending there are known; all of them if not given.

    Raises:
        SeriesTooShort: if there is nothing to forecast, or a fold gets no window to train or to validate on.
    """
    rows, lookback, furthest = len(present), windows.lookback, windows.horizons[-1]
    origins = complete_origins(present, lookback, furthest)
    if answered is not None:
        origins = origins[answered[origins]]
    first, last = int(rows * (windows.train + windows.validation)) + lookback, rows - furthest
    cut = (
        cut_fold(origins, start, end, windows, config, f"{name}: the fold that begins at bar {start} of {rows}")
        for start, end in _between_refits(first, last, config)
    )
    folds = [fold for fold in cut if fold is not None]
    if not folds:
        raise SeriesTooShort(
            f"{name} has {rows} bars, {int(present.sum())} of them complete; no window of lookback={lookback}, "
            f"horizon={furthest} fits the part behind windows.train + windows.validation. Lower one of the three, or "
            "bring more bars."
        )
    return folds


def cut_fold(
    origins: Rows, start: int, end: int, windows: Windows, config: WalkForward, name: str = "the fold"
) -> Fold | None:
    """The fold that forecasts the origins from `start` to before `end`; None where there are none. See `cut_folds`.

    Args:
        origins: of every complete window whose labels are known, rising.
        name: what messages call the fold.

    Raises:
        SeriesTooShort: if there is no window to train or to validate on.
    """
    lookback, furthest = windows.lookback, windows.horizons[-1]
    test = _within(origins, start, end)
    if not len(test):
        return None
    known = start - lookback - config.embargo
    first_row = max(0, known - (config.rolling_bars or 0)) if config.window == "rolling" else 0
    train_rows = known - int(max(known - first_row, 0) * config.validation)
    # The bar before a window must be in sight too; the series' own first bar has no return, so no window with it is complete.
    train = _within(origins, first_row + (lookback if first_row else 0), train_rows - furthest)[:: windows.stride]
    validation = _within(origins, train_rows + lookback, known - furthest)
    for part, found in (("train", train), ("validate", validation)):
        if not len(found):
            raise SeriesTooShort(
                f"{name} has no complete window to {part} on (training window: bars {first_row} to {known}, of which "
                f"walk_forward.validation = {config.validation:g} is kept to validate; a window and its label take "
                f"{lookback + furthest}). Lower windows.lookback or walk_forward.embargo, or raise walk_forward.rolling_bars "
                "or windows.train."
            )
    return Fold(first_row, int(test[-1]) + furthest + 1, Split(train, validation, test, train_rows))


def _between_refits(first: int, last: int, config: WalkForward) -> Iterable[tuple[int, int]]:
    if config.refit_every:
        edges = [*range(first, last, config.refit_every), last]
    else:
        edges = [first + (last - first) * k // config.folds for k in range(config.folds + 1)]
    return itertools.pairwise(edges)


def _within(origins: Rows, start: int, end: int) -> Rows:
    return origins[(origins >= start) & (origins < end)]
