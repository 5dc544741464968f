"""Flattened windows for scikit-learn: one estimator a horizon, a regressor or, for classes, a classifier."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from carrossel.baselines.base import Baseline, BaselineConfig, training_origins

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from carrossel.targets.base import Values
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries

_CHUNK = 4096


class TabularConfig(BaselineConfig):
    """What every baseline on flattened windows can be told."""

    max_windows: int = Field(
        50_000, ge=2, description="Training windows at most; beyond, so many evenly spread over the training part."
    )
    bars: int | None = Field(None, ge=1, description="Only the last so many bars of each window; null: all of them.")


class Tabular(Baseline):
    """A scikit-learn estimator on inputs of shape [windows, columns], by default flattened windows, oldest bar first.

    Regressors see labels scaled as the cells do, classifiers 0 and 1.

    Attributes:
        classes: whether labels are classes, of which a probability is wanted.
        windows: how many training windows there are to fit on.
    """

    Config: ClassVar[type[TabularConfig]] = TabularConfig
    config: TabularConfig
    classes: bool
    windows: int

    @abstractmethod
    def regressor(self) -> Any:
        """A fresh scikit-learn regressor."""

    @abstractmethod
    def classifier(self) -> Any:
        """A fresh scikit-learn classifier with `predict_proba`."""

    def inputs(self, data: WindowedSeries, origins: Rows) -> Values:
        """What the estimator sees of each window, shape [origins, columns]."""
        return flatten(data, origins, self.config.bars)

    def learn_inputs(self, data: WindowedSeries, origins: Rows) -> None:
        """Fit what `inputs` needs, such as centres, to the training windows; nothing by default."""

    def fit(self, data: WindowedSeries) -> None:
        origins = training_origins(data, self.config.max_windows)
        self.classes = data.target.unit == "probability"
        self.windows = len(origins)
        with one_thread():
            self.learn_inputs(data, origins)
            inputs = self.inputs(data, origins)
            self.estimators = [
                self.fit_one(inputs, labels, data, k) for k, labels in enumerate(self.labels(data, origins).T)
            ]

    def labels(self, data: WindowedSeries, origins: Rows) -> Values:
        """Labels as estimators see them, shape [origins, horizons]."""
        labels = data.label[origins]
        return labels if self.classes else data.label_scaler.transform(labels)

    def fit_one(self, inputs: Values, labels: Values, data: WindowedSeries, column: int) -> Any:
        """A fitted estimator of one horizon.

        Args:
            column: the horizon's place, for those that look at the validation part.
        """
        del data, column
        return self.estimator(labels).fit(inputs, labels)

    def estimator(self, labels: Values) -> Any:
        """A fresh estimator that suits the labels."""
        from sklearn.dummy import DummyClassifier

        if not self.classes:
            return self.regressor()
        # Several classifiers refuse a training part that only rises; its share of rises is all there is to learn.
        return self.classifier() if len(np.unique(labels)) > 1 else DummyClassifier(strategy="prior")

    def forecast(self, data: WindowedSeries, origins: Rows) -> Values:
        with one_thread():
            parts = [self._answer(self.inputs(data, part)) for part in chunks(origins)]
        answers = np.concatenate(parts)
        return answers if self.classes else data.label_scaler.inverse(answers)

    def _answer(self, inputs: Values) -> Values:
        if self.classes:
            return np.stack([probability_of_one(estimator, inputs) for estimator in self.estimators], axis=1)
        return np.stack([estimator.predict(inputs) for estimator in self.estimators], axis=1)


def one_thread() -> AbstractContextManager[Any]:
    """Hold numerical libraries to one thread: several add up in any order, and equal seeds should give equal bits."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


def flatten(data: WindowedSeries, origins: Rows, bars: int | None = None) -> Values:
    """Windows as rows, shape [origins, bars · features]; float64, since sums over many rows lose float32's digits."""
    windows = data.gather(torch.from_numpy(origins))
    if bars is not None:
        windows = windows[:, -bars:]
    flat: Values = windows.reshape(len(origins), -1).numpy().astype(np.float64)
    return flat


def chunks(origins: Rows) -> list[Rows]:
    """Origins in parts whose windows fit in memory; at least one part."""
    return np.split(origins, range(_CHUNK, len(origins), _CHUNK))


def probability_of_one(classifier: Any, inputs: Values) -> Values:
    """Probability of class 1, which a classifier that saw only zeros doesn't list."""
    known = list(classifier.classes_)
    probability: Values = classifier.predict_proba(inputs)[:, known.index(1)] if 1 in known else np.zeros(len(inputs))
    return probability
