"""The one tensor behind all windows: the series once in float32, windows as views, batches gathered by index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from carrossel.errors import SeriesTooShort
from carrossel.targets.base import stack
from carrossel.windows.columns import NUMERIC
from carrossel.windows.features import compute_features
from carrossel.windows.scaling import Scaler
from carrossel.windows.splitting import Split, split_origins

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float, Int
    from numpy.typing import NDArray
    from torch import Tensor

    from carrossel.targets.base import Columns, Target, Values
    from carrossel.windows.config import Windows


def slide(
    series: Float[Tensor, "time features"], length: int, stride: int = 1
) -> Float[Tensor, "windows length features"]:
    """Cut a series into overlapping windows, oldest first, without copying it.

    Args:
        length: bars per window.
        stride: bars between window starts.

    Raises:
        SeriesTooShort: if `time < length`.
    """
    if len(series) < length:
        raise SeriesTooShort(f"the series has {len(series)} bars; a window of {length} needs at least {length}.")
    return series.unfold(0, length, stride).transpose(1, 2)


@dataclass(frozen=True)
class WindowedSeries:
    """A series ready for training: scaled, split, never materialised as windows.

    Args:
        series: scaled features, float32, shape [time, features]; NaN rows are in no window.
        labels: scaled labels of the window ending at each row, float32, shape [time, horizons].
        bars: columns of the bars, each of shape [time].
        timestamps: of the bars, UTC, shape [time].
        horizons: bars from a window's last bar to each bar forecast.
        features: names of the series' columns.
    """

    series: Float[Tensor, "time features"]
    labels: Float[Tensor, "time horizons"]
    bars: Columns
    timestamps: NDArray[np.datetime64]
    split: Split
    feature_scaler: Scaler
    label_scaler: Scaler
    lookback: int
    horizons: tuple[int, ...]
    features: tuple[str, ...]
    target: Target

    # Training needs neither of the two, and at millions of bars they are large: made when asked for.
    @cached_property
    def label(self) -> Values:
        """Unscaled labels, shape [time, horizons]."""
        return stack([self.target.label(self.bars, horizon) for horizon in self.horizons])

    @cached_property
    def unchanged(self) -> Values:
        """Unscaled labels that 'tomorrow = today' forecasts, shape [time, horizons]."""
        return stack([self.target.unchanged(self.bars, horizon) for horizon in self.horizons])

    def gather(self, origins: Int[Tensor, batch]) -> Float[Tensor, "batch length features"]:
        """Windows that end at `origins`."""
        return slide(self.series, self.lookback)[origins - (self.lookback - 1)]

    def report(self, label: Values, origins: NDArray[np.int64]) -> Values:
        """Labels of windows that end at `origins`, shape [windows, horizons, ...], in the target's unit."""
        last_close = self.bars["close"][origins]
        return self.target.report(label, last_close.reshape(-1, *[1] * (label.ndim - 1)))


def scale_features(bars: pd.DataFrame, config: Windows, scaler: Scaler) -> Float[Tensor, "time features"]:
    """Features of bars as the scaled float32 tensor that windows are cut from."""
    return torch.from_numpy(scaler.transform(compute_features(bars, config.features)).astype(np.float32))


def columns_of(bars: pd.DataFrame) -> Columns:
    """The bars' numeric columns as float64 arrays."""
    return {name: bars[name].to_numpy(dtype=np.float64) for name in NUMERIC if name in bars}


def window_series(
    bars: pd.DataFrame, config: Windows, target: Target, name: str = "the series", split: Split | None = None
) -> WindowedSeries:
    """Features, labels, split and scalers of canonical bars.

    Scalers see only rows and labels that lie wholly within the training part.

    Args:
        name: what messages call the series.
        split: the parts, such as a walk-forward fold's; cut as `config` says if not given.

    Raises:
        SeriesTooShort: if a part gets no window.
    """
    columns = columns_of(bars)
    features = compute_features(bars, config.features)
    label = stack([target.label(columns, horizon) for horizon in config.horizons])
    split = split or split_origins(
        usable_rows(features, columns), config, name, answered_rows(columns, target, config.horizons)
    )
    feature_scaler = Scaler.fit(features[: split.train_rows], config.scaler)
    label_scaler = (
        Scaler.fit(label[split.train], target.config.scaler) if target.scaled else Scaler.identity(len(config.horizons))
    )
    return WindowedSeries(
        series=torch.from_numpy(feature_scaler.transform(features).astype(np.float32)),
        labels=torch.from_numpy(label_scaler.transform(label).astype(np.float32)),
        bars=columns,
        timestamps=bars["timestamp"].dt.tz_convert(None).to_numpy(),  # with a time zone each would become an object
        split=split,
        feature_scaler=feature_scaler,
        label_scaler=label_scaler,
        lookback=config.lookback,
        horizons=config.horizons,
        features=config.features,
        target=target,
    )


def usable_rows(features: Values, columns: Columns) -> NDArray[np.bool_]:
    """Per row, whether bar and features are there."""
    usable: NDArray[np.bool_] = np.isfinite(features).all(axis=1) & np.isfinite(columns["close"])
    return usable


def answered_rows(columns: Columns, target: Target, horizons: tuple[int, ...]) -> NDArray[np.bool_]:
    """Per row, whether label and naive label are known at every horizon: a bar that is there may have no variance."""
    answered = np.ones(len(columns["close"]), dtype=np.bool_)
    for horizon in horizons:
        answered &= np.isfinite(target.label(columns, horizon)) & np.isfinite(target.unchanged(columns, horizon))
    return answered
