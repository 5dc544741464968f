"""Linear regression."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from carrossel.baselines.tabular import Tabular, TabularConfig


class LinearConfig(TabularConfig):
    """Settings of the linear regression."""

    alpha: float = Field(1.0, gt=0, description="L2 penalty on the weights, in units of scaled squared error.")


class Linear(Tabular, kind="linear"):
    """Ridge regression on the flattened window; for a direction, logistic regression with the same penalty.

    References:
        Hoerl & Kennard (1970), Ridge regression. Cox (1958), The regression analysis of binary sequences.
    """

    Config = LinearConfig
    config: LinearConfig

    def regressor(self) -> Any:
        from sklearn.linear_model import Ridge

        return Ridge(alpha=self.config.alpha)

    def classifier(self) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=1 / self.config.alpha, max_iter=1000)
