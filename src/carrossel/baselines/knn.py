"""Nearest neighbours."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from carrossel.baselines.tabular import Tabular, TabularConfig


class KnnConfig(TabularConfig):
    """Settings of the nearest neighbours."""

    neighbours: int = Field(
        100, ge=1, description="Training windows whose labels are averaged; fewer where there are fewer."
    )
    max_windows: int = Field(
        10_000,
        ge=2,
        description="Training windows at most, evenly spread over the training part: each forecast looks at all of them.",
    )
    bars: int | None = Field(
        4, ge=1, description="Only the last so many bars of each window; null: all, among which none is near."
    )


class Knn(Tabular, kind="knn"):
    """The mean label, or the share of rises, of the training windows nearest in Euclidean distance.

    References:
        Cover & Hart (1967), Nearest neighbor pattern classification.
    """

    Config = KnnConfig
    config: KnnConfig

    def regressor(self) -> Any:
        from sklearn.neighbors import KNeighborsRegressor

        return KNeighborsRegressor(min(self.config.neighbours, self.windows))

    def classifier(self) -> Any:
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(min(self.config.neighbours, self.windows))
