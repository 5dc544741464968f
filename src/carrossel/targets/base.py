"""What is forecast: the label of a window, the naive label, and the way to the unit that people read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from carrossel.config import Section, validate
from carrossel.kinds import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

Values: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = Mapping[str, Values]
"""Bars by column, each of shape [time]: open, high, low, close, volume, and realised_variance where there is one."""

Unit = Literal["price", "log_variance", "probability"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Levels that forecasts are stored with where a model has quantiles; columns `q05` … `q95`."""

MOVES = tuple(f"move_{rank}" for rank in range(1, 6))
CHANCES = tuple(f"chance_{rank}" for rank in range(1, 6))
"""Columns of the likeliest next moves where a head knows them, likeliest first, and of their probabilities."""

registry: Registry[Target] = Registry("carrossel.targets", "target")


class TargetConfig(Section):
    """Section `target` of params.yaml."""

    kind: str = Field(description="File in src/carrossel/targets: log_return, price, direction or volatility.")
    scaler: Literal["standard", "minmax"] = Field(
        "standard", description="How labels are scaled for the loss; fitted on training labels alone."
    )
    estimator: Literal["auto", "realised", "garman_klass", "parkinson"] = Field(
        "auto",
        description="volatility: variance of a bar. auto takes finer bars where prepare had them, else the range.",
    )


class Target(ABC):
    """One kind of forecast. A subclass in its own file registers itself: `class Price(Target, kind="price")`.

    Attributes:
        unit: what forecasts are judged in.
        scaled: whether labels are scaled for the loss.
        heads: heads that can answer it; section `head` of params.yaml names one of them.
    """

    kind: ClassVar[str]
    unit: ClassVar[Unit] = "price"
    scaled: ClassVar[bool] = True
    heads: ClassVar[tuple[str, ...]] = ("point", "quantiles", "student_t", "binned")

    def __init_subclass__(cls, *, kind: str, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.kind = kind
        registry.add(kind, cls)

    def __init__(self, config: TargetConfig) -> None:
        self.config = config

    @abstractmethod
    def label(self, bars: Columns, horizon: int) -> Values:
        """What a window ending at bar t should forecast, for every t.

        Args:
            bars: columns of shape [time].
            horizon: bars from t to the bar forecast.

        Returns:
            Shape [time]; NaN where it isn't known, such as beyond the series.
        """

    @abstractmethod
    def unchanged(self, bars: Columns, horizon: int) -> Values:
        """The label 'tomorrow = today' would forecast at every t, from bars up to t alone; shape [time]."""

    def report(self, label: Values, last_close: Values) -> Values:
        """Labels in `unit`; `last_close` is the close of each window's last bar, of a shape that broadcasts."""
        del last_close
        return label


def stack(columns: Sequence[Values]) -> Values:
    """One column per horizon, shape [time, horizons]."""
    return np.stack(columns, axis=1)


def quantile_column(level: float) -> str:
    """Name of a quantile's column: `q05`."""
    return f"q{round(100 * level):02d}"


def ahead(values: Values, horizon: int) -> Values:
    """`values[t + horizon]` for every t, NaN beyond the end."""
    shifted = np.full_like(values, np.nan)
    if horizon < len(values):
        shifted[:-horizon] = values[horizon:]
    return shifted


def read_target(section: Any, name: str = "target") -> TargetConfig:
    """Section `target`, its kind checked.

    Args:
        section: the section as plain data.
        name: dotted key of the section, for messages.
    """
    config = validate(section, TargetConfig, name)
    registry.load(config.kind)
    return config


def make_target(config: TargetConfig) -> Target:
    """The target of a checked section."""
    return registry.load(config.kind)(config)
