"""Decision tree."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from carrossel.baselines.tabular import Tabular, TabularConfig


class TreeConfig(TabularConfig):
    """Settings of the decision tree."""

    max_depth: int = Field(5, ge=1, description="Questions from root to leaf, at most.")
    min_leaf: int = Field(50, ge=1, description="Training windows in each leaf, at least.")


class Tree(Tabular, kind="tree"):
    """Questions about single columns of the window; a leaf answers the mean label, or the share of rises, of its windows.

    The seed breaks ties between equally good questions.

    References:
        Breiman, Friedman, Olshen & Stone (1984), Classification and regression trees.
    """

    Config = TreeConfig
    config: TreeConfig
    needs_seed: ClassVar[bool] = True

    def regressor(self) -> Any:
        from sklearn.tree import DecisionTreeRegressor

        return DecisionTreeRegressor(**self._limits())

    def classifier(self) -> Any:
        from sklearn.tree import DecisionTreeClassifier

        return DecisionTreeClassifier(**self._limits())

    def _limits(self) -> dict[str, int]:
        config = self.config
        return {"max_depth": config.max_depth, "min_samples_leaf": config.min_leaf, "random_state": self.seed}
