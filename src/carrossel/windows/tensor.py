"""The one tensor behind all windows: the series once in float32, windows as views, batches gathered by index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from carrossel.errors import SeriesTooShort
from carrossel.windows.features import compute_features
from carrossel.windows.scaling import Scaler
from carrossel.windows.splitting import Split, split_origins

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float, Int
    from numpy.typing import NDArray
    from torch import Tensor

    from carrossel.targets.base import Target, TargetConfig
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
        labels: scaled label of the window ending at each row, float32, shape [time].
        close: closing prices, shape [time].
        truth: the closing price `horizon` bars after each row, shape [time].
    """

    series: Float[Tensor, "time features"]
    labels: Float[Tensor, time]
    close: NDArray[np.float64]
    truth: NDArray[np.float64]
    split: Split
    feature_scaler: Scaler
    label_scaler: Scaler
    lookback: int

    def gather(self, origins: Int[Tensor, batch]) -> Float[Tensor, "batch length features"]:
        """Windows that end at `origins`."""
        return slide(self.series, self.lookback)[origins - (self.lookback - 1)]


def scale_features(bars: pd.DataFrame, config: Windows, scaler: Scaler) -> Float[Tensor, "time features"]:
    """Features of bars as the scaled float32 tensor that windows are cut from."""
    return torch.from_numpy(scaler.transform(compute_features(bars, config.features)).astype(np.float32))


def window_series(
    bars: pd.DataFrame, config: Windows, target: Target, target_config: TargetConfig, name: str = "the series"
) -> WindowedSeries:
    """Features, labels, split and scalers of canonical bars.

    Scalers see only rows and labels that lie wholly within the training part.

    Raises:
        SeriesTooShort: if a part gets no window.
    """
    close = bars["close"].to_numpy(dtype=np.float64)
    features = compute_features(bars, config.features)
    labels = target.label(close, config.horizon)
    split = split_origins(np.isfinite(features).all(axis=1) & np.isfinite(close), config, name)
    feature_scaler = Scaler.fit(features[: split.train_rows], config.scaler)
    label_scaler = Scaler.fit(labels[split.train][:, None], target_config.scaler)
    return WindowedSeries(
        series=torch.from_numpy(feature_scaler.transform(features).astype(np.float32)),
        labels=torch.from_numpy(label_scaler.transform(labels[:, None])[:, 0].astype(np.float32)),
        close=close,
        truth=np.concatenate([close[config.horizon :], np.full(min(config.horizon, len(close)), np.nan)]),
        split=split,
        feature_scaler=feature_scaler,
        label_scaler=label_scaler,
        lookback=config.lookback,
    )
