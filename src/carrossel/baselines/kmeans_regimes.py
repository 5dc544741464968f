"""Regimes found by k-means."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from pydantic import Field

from carrossel.baselines.base import Baseline, BaselineConfig, training_origins
from carrossel.baselines.tabular import chunks, one_thread

if TYPE_CHECKING:
    from carrossel.targets.base import Values
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries


class KmeansRegimesConfig(BaselineConfig):
    """Settings of the regimes."""

    regimes: int = Field(8, ge=1, description="Clusters; fewer where there are fewer training windows.")
    max_windows: int = Field(
        50_000, ge=2, description="Training windows at most; beyond, so many evenly spread over the training part."
    )


class KmeansRegimes(Baseline, kind="kmeans_regimes"):
    """The mean training label of the regime that a window's last bar and mean bar lie in.

    References:
        Lloyd (1982), Least squares quantization in PCM. Arthur & Vassilvitskii (2007), k-means++.
    """

    Config = KmeansRegimesConfig
    config: KmeansRegimesConfig
    needs_seed: ClassVar[bool] = True

    def fit(self, data: WindowedSeries) -> None:
        from sklearn.cluster import KMeans

        origins = training_origins(data, self.config.max_windows)
        with one_thread():
            count = min(self.config.regimes, len(origins))
            self.clusters = KMeans(count, n_init=3, random_state=self.seed).fit(_inputs(data, origins))
        regimes, labels = self.clusters.labels_, data.label[origins]
        self.means = np.stack([labels[regimes == k].mean(axis=0) for k in range(count)])

    def forecast(self, data: WindowedSeries, origins: Rows) -> Values:
        regimes = np.concatenate([self.clusters.predict(_inputs(data, part)) for part in chunks(origins)])
        forecast: Values = self.means[regimes]
        return forecast


def _inputs(data: WindowedSeries, origins: Rows) -> Values:
    """Last and mean bar of each window, shape [origins, 2 · features]."""
    windows = data.gather(torch.from_numpy(origins))
    inputs: Values = torch.cat([windows[:, -1], windows.mean(dim=1)], dim=1).numpy().astype(np.float64)
    return inputs
