"""What was asked and what came: the rows that every competitor, network or baseline, leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from carrossel.windows.features import bars_before

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from carrossel.targets.base import Values
    from carrossel.windows.splitting import Part
    from carrossel.windows.tensor import WindowedSeries

FORECAST_PARTS: tuple[Part, ...] = ("validation", "test")


def forecast_rows(
    data: WindowedSeries,
    origins: NDArray[np.int64],
    forecast: Values,
    quantiles: Mapping[str, Values] | None = None,
) -> pd.DataFrame:
    """One row per window and horizon.

    Args:
        origins: rows of the windows' last bars.
        forecast: in the target's unit, shape [windows, horizons].
        quantiles: by column, such as `q05`, shape [windows · horizons].

    Returns:
        origin and time (timestamps of the window's last bar and of the bar forecast), horizon (bars), last_close (price),
        unchanged (what 'tomorrow = today' forecasts), truth, forecast: in the target's unit; then the quantiles.
    """
    horizons = np.asarray(data.horizons)
    count = len(horizons)
    return pd.DataFrame(
        {
            "origin": _utc(data.timestamps[np.repeat(origins, count)]),
            "time": _utc(data.timestamps[(origins[:, None] + horizons).reshape(-1)]),
            "horizon": np.tile(horizons, len(origins)),
            "last_close": np.repeat(data.bars["close"][origins], count),
            "unchanged": data.report(data.unchanged[origins], origins).reshape(-1),
            "truth": data.report(data.label[origins], origins).reshape(-1),
            "forecast": forecast.reshape(-1),
            **(quantiles or {}),
        }
    )


def describe_windows(data: WindowedSeries) -> dict[str, Any]:
    """What a manifest says of the data behind a competitor: parts, bars, and the scale of MASE.

    `bars.needed` is how many bars it takes to forecast from features that are those of the training.
    `train_mae_naive` is the mean absolute error of 'tomorrow = today' on the training part, in the target's unit: for prices over
    one bar, as Hyndman & Koehler (2006) have it; else over the first horizon.
    """
    stamps = data.timestamps
    return {
        "unit": data.target.unit,
        "split": {
            part: {
                "first": _iso(stamps[data.split.origins(part)[0]]),
                "last": _iso(stamps[data.split.origins(part)[-1]]),
                "windows": len(data.split.origins(part)),
            }
            for part in ("train", *FORECAST_PARTS)
        },
        "bars": {
            "rows": len(stamps),
            "first": _iso(stamps[0]),
            "last": _iso(stamps[-1]),
            "columns": list(data.bars),
            "needed": data.lookback + bars_before(data.features, stamps),
        },
        "train_mae_naive": _naive_mae(data),
    }


def _naive_mae(data: WindowedSeries) -> float:
    if data.target.unit == "price":
        return float(np.nanmean(np.abs(np.diff(data.bars["close"][: data.split.train_rows]))))
    train = data.split.train
    return float(np.nanmean(np.abs(data.label[train, 0] - data.unchanged[train, 0])))


def _utc(stamps: NDArray[np.datetime64]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(stamps, tz="UTC")


def _iso(stamp: np.datetime64) -> str:
    return pd.Timestamp(stamp, tz="UTC").isoformat()
