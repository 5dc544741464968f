"""How many bars make a day, a week, a month, and means over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

Period = Literal["day", "week", "month"]

_DAY = np.timedelta64(1, "D")
_SATURDAY = 5


def bars_in_periods(timestamps: NDArray[np.datetime64]) -> dict[Period, int]:
    """Bars in a day, a week and a month of a series.

    A day has the median number of bars of a calendar date (UTC), first and last date aside since they may be cut. Where
    there are bars on Saturdays, a week has 7 days and a month 30; else, on an exchange, 5 and 22. Daily bars of an exchange
    thus give 1, 5, 22, and hourly ones of a market that never closes 24, 168, 720. Bars of more than a day are counted by
    their step.

    Only the grid is looked at, which is known in advance: no price, volume or status.

    Args:
        timestamps: of all bars, missing ones too, in UTC, oldest first, shape [time].
    """
    stamps = np.asarray(timestamps, dtype="datetime64[ns]")
    if len(stamps) < 2:  # noqa: PLR2004 - a step takes two bars
        return {"day": 1, "week": 1, "month": 1}
    steps = np.diff(stamps)
    step = np.median(steps.view(np.int64)).astype("timedelta64[ns]")
    if step > _DAY:
        return {"day": 1, "week": max(1, round(7 * _DAY / step)), "month": max(1, round(30 * _DAY / step))}
    dates, counts = np.unique(stamps.astype("datetime64[D]"), return_counts=True)
    if len(counts) > 2:  # noqa: PLR2004 - the first date, the last, and one between
        day = round(float(np.median(counts[1:-1])))
    else:
        # Less than two days: steps without a night in between go on around the clock.
        day = int(_DAY // step) if (steps == step).all() else int(counts.max())
    # 1970-01-01, date 0, was a Thursday.
    weekends = bool(((dates.view(np.int64) + 3) % 7 == _SATURDAY).any())
    return {"day": day, "week": day * (7 if weekends else 5), "month": day * (30 if weekends else 22)}


def period_mean(bars: pd.DataFrame, values: NDArray[np.float64], period: Period) -> NDArray[np.float64]:
    """Mean over the period that ends at each bar: of the bars that have a value, which must be at least half of them.

    Args:
        bars: canonical bars; their timestamps say how many make the period.
        values: one per bar, shape [time].

    Returns:
        Shape [time]; NaN at a bar that has no value itself.
    """
    length = bars_in_periods(bars["timestamp"].dt.tz_convert(None).to_numpy())[period]
    mean = pd.Series(values).rolling(length, min_periods=(length + 1) // 2).mean().to_numpy()
    return np.where(np.isfinite(values), mean, np.nan)
