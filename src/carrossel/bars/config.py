"""What params.yaml says about a dataset (`datasets.<name>`) and about repairs (`bars`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from carrossel.bars.interval import DAY, Interval, nanoseconds
from carrossel.bars.sources.base import AnySource, SourceConfig
from carrossel.config import Section

ALWAYS_OPEN = "24/7"


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

    @property
    def bar_interval(self) -> str:
        """Length of the canonical bars."""
        return self.resample or self.interval

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
        if self.calendar != ALWAYS_OPEN and nanoseconds(self.bar_interval) > DAY:
            raise _misfit(f"an exchange's bars are at most 1d long, not {self.bar_interval!r}")
        return self


class Repair(Section):
    """How `prepare` repairs."""

    longest_fill: int = Field(
        2, ge=0, le=1000, description="Gaps of up to so many bars carry the last close; longer ones stay missing."
    )


def _misfit(message: str) -> PydanticCustomError:
    return PydanticCustomError("misfit", "{message}", {"message": message})
