"""How far apart bars lie: a forecast one bar ahead from bars of another length would be of something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from carrossel.bars.config import ALWAYS_OPEN
from carrossel.bars.interval import nanoseconds, written
from carrossel.online.serving.reading import Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carrossel.bars.config import Dataset


class Spacing(NamedTuple):
    """The grid of a dataset's bars.

    Attributes:
        step: their length in nanoseconds.
        always_open: whether each bar begins where the one before ends; an exchange closes in between.
    """

    step: int
    always_open: bool

    @classmethod
    def of(cls, dataset: Dataset) -> Spacing:
        """That of the canonical bars."""
        return cls(nanoseconds(dataset.bar_interval), dataset.calendar == ALWAYS_OPEN)

    def check(self, stamps: NDArray[np.datetime64], needed: int) -> None:
        """Refuse bars that aren't the dataset's.

        Args:
            stamps: oldest first, datetime64[ns].
            needed: the newest ones from which the forecast is made; older ones may have holes.

        Raises:
            Refused: 422, saying how far apart bars lie and should.
        """
        newest = stamps[-needed:] if self.always_open else stamps
        apart = np.diff(newest).astype(np.int64)
        wrong = apart != self.step if self.always_open else apart < self.step
        if not wrong.any():
            return
        place = int(wrong.argmax())
        row = len(stamps) - len(newest) + place
        length = written(self.step)
        wanted = f"newest {needed} bars must be {length}" if self.always_open else f"bars must be at least {length}"
        found = f"rows {row} and {row + 1} (from 0) are {written(int(apart[place]))} apart"
        raise Refused(422, f"{found}; this dataset's {wanted} apart.")
