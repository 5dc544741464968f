"""What is forecast: the label of a window, its loss, and the way back to a price."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from carrossel.config import Section, lookup, validate
from carrossel.kinds import Registry

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    Prices = NDArray[np.float64]

registry: Registry[Target] = Registry("carrossel.targets", "target")


class TargetConfig(Section):
    """Section `target` of params.yaml."""

    kind: str = Field(description="File in src/carrossel/targets: log_return or price.")
    scaler: Literal["standard", "minmax"] = Field(
        "standard", description="How labels are scaled for the loss; fitted on training labels alone."
    )


class Target(ABC):
    """One kind of forecast. A subclass in its own file registers itself: `class Price(Target, kind="price")`."""

    kind: ClassVar[str]

    def __init_subclass__(cls, *, kind: str, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.kind = kind
        registry.add(kind, cls)

    @abstractmethod
    def label(self, close: Prices, horizon: int) -> Prices:
        """What a window ending at bar t should forecast, for every t.

        Args:
            close: closing prices, shape [time].
            horizon: bars from t to the bar forecast.

        Returns:
            Shape [time]; NaN where t + horizon lies beyond the series.
        """

    @abstractmethod
    def unchanged(self, close: Prices) -> Prices:
        """The forecast 'tomorrow = today' in the label's unit, for every t."""

    @abstractmethod
    def price(self, forecast: Prices, last_close: Prices) -> Prices:
        """Prices from forecasts in the label's unit; `last_close` is the close of each window's last bar."""

    def loss(self, forecast: Float[Tensor, batch], label: Float[Tensor, batch]) -> Float[Tensor, ""]:
        """Mean squared error, in scaled label units."""
        return (forecast - label).square().mean()


def ahead(values: Prices, horizon: int) -> Prices:
    """`values[t + horizon]` for every t, NaN beyond the end."""
    shifted = np.full_like(values, np.nan)
    if horizon < len(values):
        shifted[:-horizon] = values[horizon:]
    return shifted


def read_target(params: dict[str, Any]) -> TargetConfig:
    """Section `target`, its kind checked."""
    config = validate(lookup("target", params), TargetConfig, "target")
    registry.load(config.kind)
    return config
