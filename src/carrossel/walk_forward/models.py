"""What is refitted: a cell's network or a baseline, as data that travels to a worker."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from carrossel import baselines
from carrossel.errors import ConfigError
from carrossel.forecaster.stored import Forecast
from carrossel.recorder import MemoryRecorder
from carrossel.training.config import Recipe, read_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from carrossel.baselines import BaselineConfig
    from carrossel.targets.base import Unit
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries

Fitted: TypeAlias = "Callable[[Rows], Forecast]"
"""What a fit leaves: forecasts of the same series by the rows of windows' last bars."""


@dataclass(frozen=True)
class NetworkModel:
    """A cell's network, fitted as `train` fits it."""

    recipe: Recipe

    @property
    def name(self) -> str:
        """The entry in `cells`."""
        return self.recipe.competitor

    @property
    def needs_seed(self) -> bool:
        """Whether another seed gives other forecasts."""
        return True

    def as_dict(self) -> dict[str, Any]:
        """Plain data for fingerprints."""
        return self.recipe.as_dict()

    def fit(self, data: WindowedSeries, seed: int, name: str) -> Fitted:
        """Fit to the training part.

        Raises:
            TrainingError: if the loss isn't finite.
        """
        # The driver plans and never trains: Lightning would cost it seconds.
        from carrossel.training.fitting import fit
        from carrossel.training.outputs import store

        # A worker has one thread, and sums over more would come in any order.
        training = self.recipe.training.model_copy(update={"seed": seed, "threads": 1})
        recipe = replace(self.recipe, training=training)
        fitted = fit(data, recipe, MemoryRecorder(), name=name, quiet=True, diagnose=False)
        stored = store(fitted, data, recipe, manifest={})
        return lambda origins: stored.forecast(data.series, origins, data.bars["close"][origins])

    def forecast(self, data: WindowedSeries, seed: int, name: str) -> Forecast:
        """Fit to the training part and forecast the test part.

        Raises:
            TrainingError: if the loss isn't finite.
        """
        return self.fit(data, seed, name)(data.split.test)


@dataclass(frozen=True)
class BaselineModel:
    """A baseline by name, kind and knobs."""

    name: str
    kind: str
    config: BaselineConfig

    @property
    def needs_seed(self) -> bool:
        """Whether another seed gives other forecasts."""
        return baselines.registry.load(self.kind).needs_seed

    def as_dict(self) -> dict[str, Any]:
        """Plain data for fingerprints."""
        return {"baseline": {"kind": self.kind, "config": self.config.model_dump(mode="json")}}

    def fit(self, data: WindowedSeries, seed: int, name: str) -> Fitted:
        """Fit to the training part."""
        del name
        baseline = baselines.make_baseline(self.kind, self.config, seed)
        baseline.fit(data)
        return lambda origins: Forecast(data.report(baseline.forecast(data, origins), origins), quantiles=None)

    def forecast(self, data: WindowedSeries, seed: int, name: str) -> Forecast:
        """Fit to the training part and forecast the test part."""
        return self.fit(data, seed, name)(data.split.test)


Model = NetworkModel | BaselineModel


def read_models(
    dataset: str, names: tuple[str, ...], epochs: int | None, unit: Unit, params: dict[str, Any]
) -> tuple[tuple[Model, ...], tuple[str, ...]]:
    """Models by name, and the names of baselines that can't answer the target's unit.

    Args:
        epochs: of networks, instead of `training.epochs`.
        params: the whole of params.yaml as plain data.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    cells, known = params.get("cells") or {}, params.get("baselines") or {}
    models: list[Model] = []
    left_out = []
    for name in names:
        if name in cells:
            recipe = read_recipe(dataset, name, params)
            # Workers train on the CPU whatever training.accelerator says: a GPU sums in another order, and one table would mix
            # the parts of workers that have one with those of workers that have none.
            fixed = {"epochs": epochs or recipe.training.epochs, "seed": 1, "accelerator": "cpu"}
            training = recipe.training.model_copy(update=fixed)
            models.append(NetworkModel(replace(recipe, training=training)))
        elif name in known:
            kind, config = baselines.read_baselines(params)[name]
            if unit in baselines.registry.load(kind).units:
                models.append(BaselineModel(name, kind, config))
            else:
                left_out.append(name)
        else:
            there = ", ".join([*cells, *known])
            raise ConfigError(f"walk_forward.models names {name!r}, which is no entry of cells or baselines: {there}.")
    return tuple(models), tuple(left_out)
