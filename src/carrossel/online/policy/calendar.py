"""Which refits a policy has on a series, and what each of them may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from carrossel.bars.interval import nanoseconds
from carrossel.errors import SeriesTooShort
from carrossel.online.policy.courses import ClockCourse, DriftCourse
from carrossel.online.policy.policies import NEVER, ON_DRIFT, refit_rows
from carrossel.targets.base import make_target
from carrossel.walk_forward.folds import Fold, cut_fold
from carrossel.windows.features import compute_features
from carrossel.windows.splitting import complete_origins, split_origins
from carrossel.windows.tensor import answered_rows, columns_of, usable_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    from carrossel.online.policy.courses import Course, Monitor
    from carrossel.online.policy.plan import Plan
    from carrossel.online.policy.policies import RetrainingPolicy, Window
    from carrossel.targets.base import Values
    from carrossel.windows.splitting import Rows


@dataclass(frozen=True)
class Calendar:
    """The test part of a series.

    Args:
        stamps: of the bars, shape [time].
        inputs: features of the bars, shape [time, features].
        origins: rows of every complete window whose labels are known.
        first: the first fit, on the parts that `train` has.
    """

    plan: Plan
    stamps: NDArray[np.datetime64]
    inputs: Values
    origins: Rows
    first: Fold

    @property
    def start(self) -> int:
        """Row of the first origin."""
        return int(self.first.split.test[0])

    @property
    def end(self) -> int:
        """Row after the last origin."""
        return int(self.first.split.test[-1]) + 1

    @property
    def rolls(self) -> bool:
        """Whether a rolling window ever leaves a bar out."""
        fold = self.cut(self.end - 1, "rolling")
        return fold is not None and fold.first_row > 0

    def cut(self, row: int, window: Window) -> Fold | None:
        """The fit on what was known at a row, forecasting all that comes after; None where that is nothing.

        Inside of a gap it waits for the first bar that can be forecast from.

        Raises:
            SeriesTooShort: if there is no window to fit or to validate on.
        """
        later = self.origins[np.searchsorted(self.origins, row) :]
        if not len(later):
            return None
        windows, bars = self.plan.question.windows, self.plan.policy.rolling_bars
        config = self.plan.walk.model_copy(
            update={
                "window": window,
                "rolling_bars": bars if window == "rolling" else None,
                "validation": windows.validation / (windows.train + windows.validation),
                "embargo": 0,
            }
        )
        try:
            fold = cut_fold(self.origins, int(later[0]), self.end, windows, config)
        except SeriesTooShort:
            raise SeriesTooShort(
                f"{self.plan.dataset}: the {window} window that ends at bar {later[0]} of {len(self.stamps)} holds too few "
                f"windows of {windows.lookback} bars to fit and to validate. Raise online.policy.rolling_bars = {bars} or "
                "windows.train."
            ) from None
        # Shares are rounded to bars; the first fit is the very one of `train`.
        at_first = fold is not None and (int(fold.split.test[0]), fold.first_row) == (self.start, 0)
        return self.first if at_first else fold

    def course(self, policy: RetrainingPolicy, monitor: Callable[[], Monitor]) -> Course:
        """A policy at the beginning of its way.

        Args:
            monitor: makes a fresh monitor of drift.

        Raises:
            ConfigError: if a time between refits is less than a bar.
            SeriesTooShort: see `cut`.
        """

        def cut(row: int) -> Fold | None:
            return self.cut(row, policy.window)

        if policy.rule == ON_DRIFT:
            horizon, is_price = self.plan.question.windows.horizons[0], self.plan.unit == "price"
            return DriftCourse(cut(self.start) or self.first, cut, monitor(), self.inputs, horizon, self.end, is_price)
        rows = [self.start] if policy.rule == NEVER else refit_rows(self.stamps, self.start, nanoseconds(policy.rule))
        folds = {int(fold.split.test[0]): fold for row in rows if (fold := cut(row)) is not None}
        return ClockCourse(list(folds.values()), self.end)


def read_calendar(bars: pd.DataFrame, plan: Plan) -> Calendar:
    """The calendar of canonical bars.

    Raises:
        SeriesTooShort: if a part gets no window.
    """
    windows, target = plan.question
    columns = columns_of(bars)
    inputs = compute_features(bars, windows.features)
    present, answered = usable_rows(inputs, columns), answered_rows(columns, make_target(target), windows.horizons)
    split = split_origins(present, windows, plan.dataset, answered)
    origins = complete_origins(present, windows.lookback, windows.horizons[-1])
    return Calendar(
        plan=plan,
        stamps=bars["timestamp"].dt.tz_convert(None).to_numpy(),
        inputs=inputs,
        origins=origins[answered[origins]],
        first=Fold(0, int(split.test[-1]) + windows.horizons[-1] + 1, split),
    )
