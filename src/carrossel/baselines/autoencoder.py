"""Features that an autoencoder found, and a linear head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import mse_loss

from carrossel.baselines.networks import NetworkConfig, build, fit_network
from carrossel.baselines.tabular import Tabular, TabularConfig

if TYPE_CHECKING:
    from torch import Tensor

    from carrossel.targets.base import Values
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries


class AutoencoderConfig(NetworkConfig, TabularConfig):
    """Settings of the autoencoder and its head."""

    hidden: int = Field(32, ge=1, description="Units between window and code.")
    code: int = Field(8, ge=1, description="Numbers that a window is squeezed into.")
    alpha: float = Field(1.0, gt=0, description="L2 penalty on the head's weights.")


class Autoencoder(Tabular, kind="autoencoder"):
    """A network learns to give back each window from a short code, without labels; ridge or logistic regression on the code.

    References:
        Hinton & Salakhutdinov (2006), Reducing the dimensionality of data with neural networks.
    """

    Config = AutoencoderConfig
    config: AutoencoderConfig
    needs_seed: ClassVar[bool] = True

    def learn_inputs(self, data: WindowedSeries, origins: Rows) -> None:
        del origins
        width = self._windows(data, torch.from_numpy(data.split.train[:1])).shape[1]
        hidden, code = self.config.hidden, self.config.code
        encoder, decoder = build(
            lambda: (
                nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, code)),
                nn.Sequential(nn.Tanh(), nn.Linear(code, hidden), nn.Tanh(), nn.Linear(hidden, width)),
            ),
            self.seed,
        )
        whole = nn.Sequential(encoder, decoder)

        def loss(origins: Tensor) -> Tensor:
            windows = self._windows(data, origins)
            return mse_loss(whole(windows), windows)

        fit_network(whole, loss, data, self.config, self.seed)
        self.encoder = encoder

    def inputs(self, data: WindowedSeries, origins: Rows) -> Values:
        """Code of each window, shape [origins, code]."""
        with torch.no_grad():
            return np.asarray(self.encoder(self._windows(data, torch.from_numpy(origins))).double())

    def regressor(self) -> Any:
        from sklearn.linear_model import Ridge

        return Ridge(alpha=self.config.alpha)

    def classifier(self) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=1 / self.config.alpha, max_iter=1000)

    def _windows(self, data: WindowedSeries, origins: Tensor) -> Tensor:
        windows = data.gather(origins)
        return windows[:, -(self.config.bars or data.lookback) :].flatten(1)
