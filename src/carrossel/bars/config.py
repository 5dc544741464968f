"""What params.yaml says about a dataset (`datasets.<name>`) and about repairs (`bars`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from carrossel.bars.interval import DAY, Interval, nanoseconds
from carrossel.bars.sources.base import AnySource, SourceConfig
from carrossel.config import Section

ALWAYS_OPEN = "24/7"
_USUAL_STEP = "5min"


class Dataset(Section):
    """One price series: where it comes from and on which grid its bars lie."""

    source: Annotated[SourceConfig, AnySource()] = Field(description="Where the bars come from, by kind.")
    calendar: str = Field(
        ALWAYS_OPEN,
        min_length=1,
        description="`24/7`, or the code of an exchange whose sessions the bars follow, such as XNYS (New York).",
    )
    interval: Interval = Field(description="Length of the source's bars, such as 1min, 1h or 1d.")
    resample: Interval | None = Field(
        None, description="Longer interval to which `prepare` aggregates the bars, such as 1d; none keeps them."
    )
    price: Literal["last", "mean"] = Field(
        "last", description="`close` of an aggregated bar: the last close in it, or the mean of the closes in it."
    )

    newest: int | None = Field(
        None, ge=2, description="Use only so many bars, the newest: a training window that rolls on; none uses all."
    )
    windows: dict[str, Any] = Field({}, description="Keys of section `windows` that differ for this dataset.")
    target: dict[str, Any] = Field({}, description="Keys of section `target` that differ; another kind replaces it.")
    head: dict[str, Any] = Field({}, description="Keys of section `head` that differ; another kind replaces it.")
    walk_forward: dict[str, Any] = Field({}, description="Keys of section `walk_forward` that differ.")
    variance_interval: Interval | None = Field(
        None,
        description="Step of the returns whose squares add up to an aggregated bar's `realised_variance`; none: 5min where "
        "interval divides it and resample is a longer multiple of it, else interval. Shorter steps see more of the path, and "
        "of the jumping between bid and ask.",
    )

    @property
    def bar_interval(self) -> str:
        """Length of the canonical bars."""
        return self.resample or self.interval

    @property
    def variance_step(self) -> str | None:
        """Step of the returns behind `realised_variance`; none where bars aren't aggregated.

        Five minutes is where the noise of single trades fades in liquid markets (Andersen & Bollerslev 1998; Liu, Patton &
        Sheppard 2015).
        """
        if self.resample is None or self.variance_interval is not None:
            return self.variance_interval
        return _USUAL_STEP if _nests(self.interval, _USUAL_STEP, self.resample) else self.interval

    @model_validator(mode="after")
    def _fits_together(self) -> Dataset:
        if self.resample is not None:
            source, target = nanoseconds(self.interval), nanoseconds(self.resample)
            if target <= source or target % source:
                raise _misfit(
                    f"resample {self.resample!r} must be a longer whole multiple of interval {self.interval!r}"
                )
        elif self.price == "mean":
            raise _misfit("price 'mean' averages the closes of shorter bars: it needs resample, such as 1d")
        if self.variance_interval is not None:
            if self.resample is None:
                raise _misfit("variance_interval divides an aggregated bar: it needs resample, such as 1d")
            if not _nests(self.interval, self.variance_interval, self.resample):
                raise _misfit(
                    f"variance_interval {self.variance_interval!r} must be a whole multiple of interval {self.interval!r} and "
                    f"divide resample {self.resample!r} into at least two"
                )
        if self.calendar != ALWAYS_OPEN and nanoseconds(self.bar_interval) > DAY:
            raise _misfit(f"an exchange's bars are at most 1d long, not {self.bar_interval!r}")
        return self


class Repair(Section):
    """How `prepare` repairs."""

    longest_fill: int = Field(
        2, ge=0, le=1000, description="Gaps of up to so many bars carry the last close; longer ones stay missing."
    )


def _nests(source: str, step: str, target: str) -> bool:
    """Whether bars of `source` make whole steps, and at least two steps a whole bar of `target`."""
    small, middle, large = nanoseconds(source), nanoseconds(step), nanoseconds(target)
    return middle % small == 0 and large % middle == 0 and large > middle


def _misfit(message: str) -> PydanticCustomError:
    return PydanticCustomError("misfit", "{message}", {"message": message})
