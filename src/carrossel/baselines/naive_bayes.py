"""Naive Bayes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from carrossel.baselines.tabular import Tabular, TabularConfig
from carrossel.errors import ModelError

if TYPE_CHECKING:
    from carrossel.targets.base import Unit


class NaiveBayesConfig(TabularConfig):
    """Settings of naive Bayes."""

    bars: int | None = Field(
        4, ge=1, description="Only the last so many bars of each window; null: all, with overconfident probabilities."
    )


class NaiveBayes(Tabular, kind="naive_bayes"):
    """Probability of a rise if all columns of the window were independent normals, given the direction.

    They aren't, and what they share is counted again with every bar: hence few bars.

    References:
        Hand & Yu (2001), Idiot's Bayes: not so stupid after all?
    """

    Config = NaiveBayesConfig
    units: ClassVar[frozenset[Unit]] = frozenset({"probability"})

    def regressor(self) -> Any:
        raise ModelError(
            "naive_bayes forecasts probabilities alone: take target direction, or leave it out of baselines."
        )

    def classifier(self) -> Any:
        from sklearn.naive_bayes import GaussianNB

        return GaussianNB()
