"""Section `tuning` of params.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, cast

from pydantic import Field, model_validator

from carrossel.config import Section

if TYPE_CHECKING:
    from optuna import Trial

Choice = str | int | float | bool
Objective = Literal["skill", "latency", "parameters"]
SamplerName = Literal["tpe", "cmaes", "random", "grid", "gp"]
PrunerName = Literal["median", "hyperband", "asha", "wilcoxon", "none"]
R = TypeVar("R", "IntRange", "FloatRange")

LIST_SEPARATOR = " + "
_WHEN = "Draw it only where another key drew one of these values, such as {cell.kind: [lstm]}; else it stays as it is."


class IntRange(Section):
    """Whole numbers from low to high, both included."""

    kind: Literal["int"]
    low: int
    high: int
    log: bool = Field(default=False, description="Draw the logarithm evenly.")
    step: int = Field(default=1, ge=1, description="Distance of two values; 1 with log.")
    when: dict[str, tuple[Choice, ...]] = Field(default={}, description=_WHEN)

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        return _check(self)

    def suggest(self, name: str, trial: Trial) -> int:
        """Draw a value."""
        return trial.suggest_int(name, self.low, self.high, log=self.log, step=self.step)

    @property
    def values(self) -> tuple[int, ...]:
        """Every value, for a grid."""
        return tuple(range(self.low, self.high + 1, self.step))

    @property
    def ends(self) -> tuple[Choice, ...]:
        """Values to check the space with."""
        return self.low, self.high


class FloatRange(Section):
    """Numbers from low to high."""

    kind: Literal["float"]
    low: float
    high: float
    log: bool = Field(default=False, description="Draw the logarithm evenly.")
    step: float | None = Field(default=None, gt=0, description="Distance of two values; any number if not given.")
    when: dict[str, tuple[Choice, ...]] = Field(default={}, description=_WHEN)

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        return _check(self)

    def suggest(self, name: str, trial: Trial) -> float:
        """Draw a value."""
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)

    @property
    def values(self) -> tuple[float, ...] | None:
        """Every value, for a grid; None where they can't be counted."""
        if self.step is None:
            return None
        count = int((self.high - self.low) / self.step + 1e-9) + 1
        # As Optuna rounds them: a sum of steps would carry their error along.
        return tuple(round(self.low + k * self.step, 12) for k in range(count))

    @property
    def ends(self) -> tuple[Choice, ...]:
        """Values to check the space with."""
        return self.low, self.high


class Choices(Section):
    """One of a list."""

    kind: Literal["categorical"]
    choices: tuple[Choice | tuple[str, ...], ...] = Field(
        min_length=1, description="Values; lists of names for keys that take a list, such as windows.features."
    )
    when: dict[str, tuple[Choice, ...]] = Field(default={}, description=_WHEN)

    @property
    def values(self) -> tuple[Choice, ...]:
        """Every choice as Optuna stores it: a list as one string."""
        return tuple(LIST_SEPARATOR.join(choice) if isinstance(choice, tuple) else choice for choice in self.choices)

    @property
    def ends(self) -> tuple[Choice, ...]:
        """Values to check the space with: all."""
        return self.values

    def suggest(self, name: str, trial: Trial) -> Choice:
        """Draw a value."""
        return cast("Choice", trial.suggest_categorical(name, self.values))


Space = Annotated[IntRange | FloatRange | Choices, Field(discriminator="kind")]


class Where(Section):
    """Where trials run and what keeps them."""

    workers: int = Field(
        default=1, ge=1, description="Processes on this machine, one thread each; 1 runs trials in the driver itself."
    )
    scheduler: str | None = Field(
        default=None, description="Address of a Dask scheduler, such as tcp://host:8786, whose workers run the trials."
    )
    storage: str | None = Field(
        default=None,
        description="SQLAlchemy URL of the studies, such as postgresql+psycopg://host/name; null: .carrossel/studies.db. "
        "CARROSSEL_STUDIES wins over both, so that a password stays out of this file.",
    )


class Tuning(Where):
    """A study: of which recipe, how many trials, over what, towards what."""

    cell: str = Field(
        description="Kind of the cell whose recipe is the default and what the space leaves alone; a file in src/carrossel/cells."
    )
    trials: int = Field(5, ge=1, description="Complete or pruned trials the study ends with.")
    epochs: int = Field(
        5, ge=1, description="Epochs of a trial and fold, at most; the best configuration is then trained in full."
    )
    folds: int = Field(
        1,
        ge=1,
        description="Walk-forward folds before the test part; skill is their median. 1: the validation part alone.",
    )
    objectives: tuple[Objective, ...] = Field(
        ("skill",),
        min_length=1,
        description="skill (up), and beside it latency of one forecast or number of parameters (down): a Pareto front.",
    )
    sampler: SamplerName = Field("tpe", description="Who draws: tpe, cmaes, random, grid or gp.")
    pruner: PrunerName = Field(
        "median", description="Who ends hopeless trials: median, hyperband, asha, wilcoxon or none."
    )
    seed: int = Field(1, ge=0, lt=2**31, description="Of the sampler.")
    startup_trials: int = Field(5, ge=1, description="Random trials before tpe, cmaes or gp model the space.")
    prune_after: int = Field(
        2, ge=0, description="Epochs (wilcoxon: folds) every trial gets before the pruner may end it."
    )
    space: dict[str, Space] = Field(
        min_length=1, description="Dotted keys of cell, training, windows, head or target, such as cell.hidden_size."
    )

    @model_validator(mode="after")
    def _agrees(self) -> Tuning:
        if self.objectives[0] != "skill" or len(set(self.objectives)) < len(self.objectives):
            raise ValueError("objectives must begin with skill and name each once")
        if len(self.objectives) > 1 and self.pruner != "none":
            raise ValueError(f"pruner = {self.pruner}: several objectives can't be pruned; set pruner: none")
        if self.sampler == "cmaes" and all(isinstance(space, Choices) or space.when for space in self.space.values()):
            raise ValueError(
                "sampler = cmaes moves ranges of numbers without `when`; the space has none: choose tpe or random"
            )
        if len(self.objectives) > 1 and self.sampler == "cmaes":
            raise ValueError("sampler = cmaes knows one objective; choose tpe, gp, random or grid")
        if self.pruner == "wilcoxon" and self.folds < 2:  # noqa: PLR2004 - a test of pairs
            raise ValueError("pruner = wilcoxon compares folds; set folds to 2 or more (it starts to bite at about 5)")
        for key, space in self.space.items():
            if self.sampler == "grid" and (space.values is None or space.when):
                raise ValueError(f"sampler = grid: space.{key} needs a step or choices, and no `when`")
            earlier = list(self.space)[: list(self.space).index(key)]
            for parent in space.when:
                if parent not in earlier:
                    raise ValueError(f"space.{key}.when names {parent!r}, which must stand in the space before it")
        return self


def _check(space: R) -> R:
    if space.low > space.high:
        raise ValueError(f"low = {space.low:g} is above high = {space.high:g}")
    if space.log and space.low <= 0:
        raise ValueError(f"low = {space.low:g}; a logarithmic range must start above 0")
    if space.step and not _divides(space.step, space.high - space.low):
        raise ValueError(f"step = {space.step:g} doesn't lead from low = {space.low:g} to high = {space.high:g}")
    if space.log and space.step not in {None, 1}:
        raise ValueError(f"step = {space.step:g}: a logarithmic range has no step; give choices instead")
    return space


def _divides(step: float, width: float) -> bool:
    return abs(width / step - round(width / step)) < 1e-9  # noqa: PLR2004 - the rounding of decimal fractions
