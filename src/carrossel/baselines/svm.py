"""Support vector machine."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from carrossel.baselines.tabular import Tabular, TabularConfig


class SvmConfig(TabularConfig):
    """Settings of the support vector machine."""

    max_windows: int = Field(
        2000,
        ge=2,
        description="Training windows at most, evenly spread over the training part: the cost grows with their square.",
    )
    C: float = Field(0.1, gt=0, description="Weight of errors against flatness.")


class Svm(Tabular, kind="svm"):
    """Support vector regression with a Gaussian kernel; for a direction, the classifier with Platt's probabilities.

    Platt's sigmoid is fitted on three consecutive blocks of the training windows, each judged by the other two.

    References:
        Drucker et al. (1997), Support vector regression machines. Cortes & Vapnik (1995), Support-vector networks. Platt
        (1999), Probabilistic outputs for support vector machines.
    """

    Config = SvmConfig
    config: SvmConfig

    def regressor(self) -> Any:
        from sklearn.svm import SVR

        return SVR(C=self.config.C)

    def classifier(self) -> Any:
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.model_selection import KFold
        from sklearn.svm import SVC

        return CalibratedClassifierCV(SVC(C=self.config.C), cv=KFold(3), ensemble=False)
