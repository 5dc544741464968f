"""Radial-basis network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from carrossel.baselines.tabular import Tabular, TabularConfig

if TYPE_CHECKING:
    from carrossel.targets.base import Values
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries


class RbfConfig(TabularConfig):
    """Settings of the radial-basis network."""

    units: int = Field(50, ge=1, description="Gaussian units; fewer where there are fewer training windows.")
    alpha: float = Field(1e-2, gt=0, description="L2 penalty on the output weights.")
    max_windows: int = Field(
        20_000, ge=2, description="Training windows at most; beyond, so many evenly spread over the training part."
    )
    bars: int | None = Field(
        4, ge=1, description="Only the last so many bars of each window; null: all, equally far from every centre."
    )


class Rbf(Tabular, kind="rbf"):
    """Gaussian units centred by k-means, all as wide as the mean distance of windows to centres, and a linear output.

    References:
        Moody & Darken (1989), Fast learning in networks of locally-tuned processing units.
    """

    Config = RbfConfig
    config: RbfConfig
    needs_seed: ClassVar[bool] = True

    def learn_inputs(self, data: WindowedSeries, origins: Rows) -> None:
        from sklearn.cluster import KMeans

        flat = super().inputs(data, origins)
        self.centres = KMeans(min(self.config.units, self.windows), n_init=1, random_state=self.seed).fit(flat)
        self.width = float(self.centres.transform(flat).mean()) or 1.0

    def inputs(self, data: WindowedSeries, origins: Rows) -> Values:
        """Activation of each Gaussian unit, shape [origins, units]."""
        distance = self.centres.transform(super().inputs(data, origins)) / self.width
        activation: Values = np.exp(-0.5 * distance**2)
        return activation

    def regressor(self) -> Any:
        from sklearn.linear_model import Ridge

        return Ridge(alpha=self.config.alpha)

    def classifier(self) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=1 / self.config.alpha, max_iter=1000)
