"""How a policy goes through the test part: which fits it asks for, and which of them serves when."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from carrossel.targets.base import Values
    from carrossel.walk_forward.folds import Fold


class Monitor(Protocol):
    """What watches losses and inputs: see `carrossel.online.drift.DriftMonitor`."""

    def update(self, standardised_loss: float, inputs: Sequence[float]) -> list[str]:
        """Take one more bar in; gives the alarms in words."""


@dataclass(frozen=True)
class Service:
    """A fit and the origins it forecasts: from row `start` to before row `end`."""

    fold: Fold
    start: int
    end: int


class Course(Protocol):
    """One policy under way."""

    services: list[Service]

    def begin(self) -> list[Fold]:
        """Fits that are asked for at once."""

    def take(self, fold: Fold, read: Callable[[], pd.DataFrame]) -> list[Fold]:
        """Go on when a fit is finished, and ask for further fits.

        Args:
            read: gives what the fit left, see `fits.refit`.
        """


@dataclass
class ClockCourse:
    """Refits at rows known beforehand.

    Args:
        folds: one per refit, in order; each begins at the refit.
        end: row after the last origin.
    """

    folds: list[Fold]
    end: int
    services: list[Service] = field(default_factory=list, init=False)

    def begin(self) -> list[Fold]:
        """Every fit."""
        starts = [*(int(fold.split.test[0]) for fold in self.folds), self.end]
        pairs = zip(self.folds, itertools.pairwise(starts), strict=True)
        self.services = [Service(fold, start, end) for fold, (start, end) in pairs]
        return self.folds

    def take(self, fold: Fold, read: Callable[[], pd.DataFrame]) -> list[Fold]:
        """Nothing further."""
        del fold, read
        return []


class _Scored(NamedTuple):
    """The loss of a forecast made at row `origin`."""

    origin: int
    loss: float


@dataclass
class DriftCourse:
    """Refits when a monitor of its own losses and of the inputs raises an alarm.

    What was forecast at row t for the bar h ahead is scored when bar t + h has closed. An alarm then asks for a fit on what is
    known at that bar. This bar's own forecast is still the old model's, since a fit takes time; the new one serves from the next
    bar on.

    Args:
        first: the first fit.
        cut: the fold of a refit at a row; None where nothing is left to forecast.
        monitor: a fresh one.
        inputs: the model's inputs at every bar, shape [time, features].
        horizon: h, the nearest there is.
        end: row after the last origin.
        is_price: whether forecasts are prices.
    """

    first: Fold
    cut: Callable[[int], Fold | None]
    monitor: Monitor
    inputs: Values
    horizon: int
    end: int
    is_price: bool
    services: list[Service] = field(default_factory=list, init=False)
    _unscored: list[_Scored] = field(default_factory=list, init=False)

    def begin(self) -> list[Fold]:
        """The first fit."""
        return [self.first]

    def take(self, fold: Fold, read: Callable[[], pd.DataFrame]) -> list[Fold]:
        """Serve until the next alarm, then ask for a refit."""
        start = int(fold.split.test[0])
        alarm = self._next_alarm([*self._unscored, *self._scores(read())])
        refit = None if alarm is None else self.cut(alarm + 1)
        end = self.end if refit is None else int(refit.split.test[0])
        self.services.append(Service(fold, start, end))
        return [] if refit is None else [refit]

    def _scores(self, part: pd.DataFrame) -> list[_Scored]:
        nearest = part[part["horizon"] == self.horizon]
        # Relative to the price, so that a loss has no trend where the price has one.
        unit = nearest["last_close"] if self.is_price else 1.0
        losses = ((nearest["truth"] - nearest["forecast"]) / unit) ** 2
        return [_Scored(int(row), float(loss)) for row, loss in zip(nearest["row"], losses, strict=True)]

    def _next_alarm(self, forecasts: list[_Scored]) -> int | None:
        """Row of the bar that raises it; what was forecast up to it and isn't scored yet is kept for later."""
        for place, (origin, loss) in enumerate(forecasts):
            bar = origin + self.horizon
            if self.monitor.update(loss, self.inputs[bar].tolist()):
                self._unscored = [one for one in forecasts[place + 1 :] if one.origin <= bar]
                return bar
        return None
