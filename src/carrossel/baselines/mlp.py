"""Perceptron with hidden layers."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from carrossel.baselines.stopping import Patience, stopping_origins
from carrossel.baselines.tabular import Tabular, TabularConfig, probability_of_one

if TYPE_CHECKING:
    from carrossel.targets.base import Values
    from carrossel.windows.tensor import WindowedSeries


class MlpConfig(TabularConfig):
    """Settings of the perceptron."""

    hidden: tuple[int, ...] = Field(
        (32,), description="Units of each hidden layer; an empty list leaves the bare perceptron."
    )
    bars: int | None = Field(
        8,
        ge=1,
        description="Only the last so many bars of each window; null: all, of whose noise more is learned by heart.",
    )
    epochs: int = Field(20, ge=1, description="Passes over the training windows, at most.")
    patience: int = Field(3, ge=1, description="Epochs without a lower validation loss before training stops.")
    batch_size: int = Field(256, ge=1, description="Windows per optimiser step.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Of Adam.")


class Mlp(Tabular, kind="mlp"):
    """Flattened window, hidden layers of rectified units, linear or logistic output; weights of the best validation epoch.

    References:
        Rosenblatt (1958), The perceptron. Rumelhart, Hinton & Williams (1986), Learning representations by back-propagating
        errors.
    """

    Config = MlpConfig
    config: MlpConfig
    needs_seed: ClassVar[bool] = True

    def regressor(self) -> Any:
        from sklearn.neural_network import MLPRegressor

        return MLPRegressor(**self._settings())

    def classifier(self) -> Any:
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(**self._settings())

    def _settings(self) -> dict[str, Any]:
        return {
            "hidden_layer_sizes": self.config.hidden,
            "batch_size": min(self.config.batch_size, self.windows),
            "learning_rate_init": self.config.learning_rate,
            # An int would restart the generator at every epoch and so repeat the first order of windows.
            "random_state": np.random.RandomState(self.seed),
        }

    def fit_one(self, inputs: Values, labels: Values, data: WindowedSeries, column: int) -> Any:
        estimator = self.estimator(labels)
        if not hasattr(estimator, "partial_fit"):
            return estimator.fit(inputs, labels)
        held = stopping_origins(data)
        held_inputs, held_labels = self.inputs(data, held), self.labels(data, held)[:, column]
        patience = Patience(self.config.patience)
        best = estimator
        for _ in range(self.config.epochs):
            estimator.partial_fit(inputs, labels, **({"classes": (0.0, 1.0)} if self.classes else {}))
            if patience.improves(self._loss(estimator, held_inputs, held_labels)):
                best = copy.deepcopy(estimator)
            if patience.ended:
                break
        return best

    def _loss(self, estimator: Any, inputs: Values, labels: Values) -> float:
        """Cross-entropy or mean squared error."""
        from sklearn.metrics import log_loss

        if self.classes:
            return float(log_loss(labels, probability_of_one(estimator, inputs), labels=[0, 1]))
        return float(np.mean((estimator.predict(inputs) - labels) ** 2))
