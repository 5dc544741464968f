"""Section `tuning` of params.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, cast

from pydantic import Field, model_validator

from carrossel.config import Section

if TYPE_CHECKING:
    from optuna import Trial

Choice = str | int | float | bool
R = TypeVar("R", "IntRange", "FloatRange")


class IntRange(Section):
    """Whole numbers from low to high, both included."""

    kind: Literal["int"]
    low: int
    high: int
    log: bool = Field(default=False, description="Draw the logarithm evenly.")

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        return _check(self)

    def suggest(self, name: str, trial: Trial) -> int:
        """Draw a value."""
        return trial.suggest_int(name, self.low, self.high, log=self.log)


class FloatRange(Section):
    """Numbers from low to high."""

    kind: Literal["float"]
    low: float
    high: float
    log: bool = Field(default=False, description="Draw the logarithm evenly.")

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        return _check(self)

    def suggest(self, name: str, trial: Trial) -> float:
        """Draw a value."""
        return trial.suggest_float(name, self.low, self.high, log=self.log)


class Choices(Section):
    """One of a list."""

    kind: Literal["categorical"]
    choices: tuple[Choice, ...] = Field(min_length=1)

    @property
    def low(self) -> Choice:
        """The first choice: a value to check the space with."""
        return self.choices[0]

    @property
    def high(self) -> Choice:
        """The last choice."""
        return self.choices[-1]

    def suggest(self, name: str, trial: Trial) -> Choice:
        """Draw a value."""
        return cast("Choice", trial.suggest_categorical(name, self.choices))


Space = Annotated[IntRange | FloatRange | Choices, Field(discriminator="kind")]


class Tuning(Section):
    """A study: which cell, how many trials, over what."""

    cell: str = Field(description="Kind of the cell to tune; a file in src/carrossel/cells.")
    trials: int = Field(5, ge=1, description="Complete or pruned trials the study ends with.")
    epochs: int = Field(
        5, ge=1, description="Epochs of a trial, at most; the best configuration is then trained in full."
    )
    seed: int = Field(1, ge=0, lt=2**31, description="Of the sampler.")
    startup_trials: int = Field(5, ge=1, description="Random trials before TPE models the space.")
    prune_after: int = Field(2, ge=0, description="Epochs every trial gets before the median pruner may end it.")
    space: dict[str, Space] = Field(
        min_length=1, description="Dotted keys under cell or training, such as cell.hidden_size."
    )


def _check(space: R) -> R:
    if space.low > space.high:
        raise ValueError(f"low = {space.low:g} is above high = {space.high:g}")
    if space.log and space.low <= 0:
        raise ValueError(f"low = {space.low:g}; a logarithmic range must start above 0")
    return space
