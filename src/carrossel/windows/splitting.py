"""Split by time, with a purge between the parts, over windows that touch no missing bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from carrossel.errors import SeriesTooShort

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carrossel.windows.config import Windows

    Rows = NDArray[np.int64]

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Split:
    """Origins (row of a window's last bar) of each part, oldest first.

    Args:
        train_rows: rows before this one may be seen in training, labels included.
    """

    train: Rows
    validation: Rows
    test: Rows
    train_rows: int

    def origins(self, part: Part) -> Rows:
        """Origins of one part."""
        parts: dict[Part, Rows] = {"train": self.train, "validation": self.validation, "test": self.test}
        return parts[part]


def complete_origins(present: NDArray[np.bool_], lookback: int, ahead: int) -> Rows:
    """Rows t whose bars t − lookback + 1 … t + ahead are all present.

    Args:
        present: per row, whether bar and features are there, shape [time].
    """
    absent = np.concatenate([[0], np.cumsum(~present)])
    t: Rows = np.arange(lookback - 1, len(present) - ahead, dtype=np.int64)
    complete: Rows = t[absent[t + ahead + 1] == absent[t - lookback + 1]]
    return complete


def split_origins(
    present: NDArray[np.bool_],
    config: Windows,
    name: str = "the series",
    answered: NDArray[np.bool_] | None = None,
) -> Split:
    """Cut the windows of a series into train, validation and test.

    Let a part begin at row s. Its first origin is s + lookback, so its windows, and the bar before them that a return needs,
    hold none of the rows before s; the labels of the part before end at s − 1. Two parts' origins are thus more than
    lookback + horizon rows apart (the furthest, where there are several), and no bar lies in windows or labels of two parts. What a
    feature over a week or a month looks back on may reach into the part before: that is past and no leak.

    Args:
        present: per row, whether bar and features are there, shape [time].
        answered: per row, whether labels and naive labels of the window ending there are known; all of them if not given.

    Raises:
        SeriesTooShort: if a part gets no window; says how many bars it takes.
    """
    rows = len(present)
    first_validation = int(rows * config.train)
    first_test = int(rows * (config.train + config.validation))
    furthest = config.horizons[-1]
    all_origins = complete_origins(present, config.lookback, furthest)
    if answered is not None:
        all_origins = all_origins[answered[all_origins]]

    def between(start: int, end: int) -> Rows:
        return all_origins[(all_origins >= start) & (all_origins + furthest < end)]

    split = Split(
        train=between(0, first_validation)[:: config.stride],
        validation=between(first_validation + config.lookback, first_test),
        test=between(first_test + config.lookback, rows),
        train_rows=first_validation,
    )
    smallest_share = min(config.train, config.validation, 1 - config.train - config.validation)
    needed = int(np.ceil((config.lookback + furthest + 1) / smallest_share))
    for part in ("train", "validation", "test"):
        if not len(split.origins(part)):
            raise SeriesTooShort(
                f"{name} has {rows} bars, {int(present.sum())} of them complete; no {part} window of lookback="
                f"{config.lookback}, horizon={furthest} fits (about {needed} bars without long gaps are needed). "
                "Lower windows.lookback, change windows.train and windows.validation, or bring more bars."
            )
    return split
