"""One-dimensional convolutional network."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from carrossel.baselines.base import Baseline
from carrossel.baselines.networks import NetworkConfig, build, fit_network
from carrossel.baselines.tabular import chunks

if TYPE_CHECKING:
    from torch import Tensor

    from carrossel.targets.base import Values
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries


class CnnConfig(NetworkConfig):
    """Settings of the convolutional network."""

    channels: int = Field(16, ge=1, description="Filters of each of the two convolutions.")
    reach: int = Field(2, ge=0, description="Bars that a filter sees on either side of its own, all within the window.")


class Cnn(Baseline, kind="cnn"):
    """Two convolutions along the window, rectified, and a linear output per horizon; logistic for a direction.

    References:
        LeCun & Bengio (1995), Convolutional networks for images, speech, and time series.
    """

    Config = CnnConfig
    config: CnnConfig
    needs_seed: ClassVar[bool] = True

    def fit(self, data: WindowedSeries) -> None:
        criterion = binary_cross_entropy_with_logits if data.target.unit == "probability" else mse_loss
        self.network = build(lambda: self._make(data), self.seed)

        def loss(origins: Tensor) -> Tensor:
            return criterion(self.network(data.gather(origins).transpose(1, 2)), data.labels[origins])

        fit_network(self.network, loss, data, self.config, self.seed)

    def forecast(self, data: WindowedSeries, origins: Rows) -> Values:
        with torch.no_grad():
            outputs = [self.network(data.gather(torch.from_numpy(part)).transpose(1, 2)) for part in chunks(origins)]
        raw = torch.cat(outputs).double()
        if data.target.unit == "probability":
            return np.asarray(raw.sigmoid())
        return data.label_scaler.inverse(np.asarray(raw))

    def _make(self, data: WindowedSeries) -> nn.Module:
        channels, kernel = self.config.channels, 2 * self.config.reach + 1
        return nn.Sequential(
            nn.Conv1d(data.series.shape[1], channels, kernel, padding="same"),
            nn.ReLU(),
            nn.Conv1d(channels, channels, kernel, padding="same"),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(channels * data.lookback, len(data.horizons)),
        )
