"""What every baseline is: fitted on the training windows, it forecasts labels at any origins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from carrossel.config import Section, lookup, validate
from carrossel.errors import ConfigError
from carrossel.kinds import Registry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carrossel.targets.base import Unit, Values
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries

registry: Registry[Baseline] = Registry("carrossel.baselines", "baseline")


class BaselineConfig(Section):
    """What a baseline can be told in params.yaml; most need nothing."""


class Baseline(ABC):
    """One competitor without recurrence. A subclass in its own file registers itself: `class Har(Baseline, kind="har")`.

    Fitting sees rows before `split.train_rows` and the labels of training origins alone; those that stop early also see the
    validation part, as the cells do.

    Args:
        config: of the class's own `Config`.
        seed: of whatever is drawn; equal seeds give equal forecasts, bit for bit.

    Attributes:
        units: what it can forecast; a target of another unit goes without this baseline.
        needs_seed: whether another seed gives other forecasts.
    """

    kind: ClassVar[str]
    Config: ClassVar[type[BaselineConfig]] = BaselineConfig
    units: ClassVar[frozenset[Unit]] = frozenset({"price", "log_variance", "probability"})
    needs_seed: ClassVar[bool] = False

    def __init_subclass__(cls, *, kind: str | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if kind is not None:
            cls.kind = kind
            registry.add(kind, cls)

    def __init__(self, config: BaselineConfig, seed: int = 0) -> None:
        self.config = config
        self.seed = seed

    @abstractmethod
    def fit(self, data: WindowedSeries) -> None:
        """Learn from the training part."""

    @abstractmethod
    def forecast(self, data: WindowedSeries, origins: Rows) -> Values:
        """Forecast labels, each from rows up to its origin alone.

        Args:
            data: the series fitted on, or one with further bars, scaled by the same scalers.
            origins: rows of the windows' last bars.

        Returns:
            In label units, shape [origins, horizons]; never NaN where the naive label isn't.
        """


def training_origins(data: WindowedSeries, most: int | None = None) -> Rows:
    """Training origins with known labels, oldest first; beyond `most`, that many of them evenly spread over the part."""
    origins = data.split.train
    origins = origins[np.isfinite(data.label[origins]).all(axis=1)]
    if most is not None and len(origins) > most:
        origins = origins[np.linspace(0, len(origins) - 1, most).astype(np.int64)]
    return origins


def or_naive(forecast: Values, data: WindowedSeries, origins: Rows) -> Values:
    """The forecast where there is one; where bars it needs are missing, 'tomorrow = today'."""
    return np.where(np.isfinite(forecast), forecast, data.unchanged[origins])


def log_returns(data: WindowedSeries) -> NDArray[np.float64]:
    """ln(close_t / close_{t-1}), shape [time]; NaN where either is missing."""
    return np.diff(np.log(data.bars["close"]), prepend=np.nan)


def read_baselines(params: dict[str, Any]) -> dict[str, tuple[str, BaselineConfig]]:
    """Section `baselines`: what each competitor is called, its kind and its checked config.

    Args:
        params: the whole of params.yaml as plain data.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    section = lookup("baselines", params)
    if not isinstance(section, dict):
        raise ConfigError(f"baselines = {section!r}: expected one entry per kind: {', '.join(registry.kinds())}.")
    return {
        kind: (kind, validate(values, registry.load(kind).Config, f"baselines.{kind}"))
        for kind, values in section.items()
    }


def make_baseline(kind: str, config: BaselineConfig | None = None, seed: int = 0) -> Baseline:
    """A fresh baseline; without a config, its default one."""
    cls = registry.load(kind)
    return cls(config if config is not None else cls.Config(), seed)
