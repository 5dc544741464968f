"""Section `windows` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from carrossel.config import Section
from carrossel.windows.features import FEATURES


class Windows(Section):
    """How a series is cut into windows and split by time."""

    lookback: int = Field(ge=1, description="Bars in a window.")
    horizon: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], ...] = Field(
        1, description="Bars from a window's last bar to the bar forecast; a rising list forecasts several at once."
    )
    stride: int = Field(1, ge=1, description="Bars between the starts of two training windows.")
    features: tuple[str, ...] = Field(min_length=1, description=f"Any of: {', '.join(FEATURES)}.")
    scaler: Literal["standard", "minmax"] = Field(
        "standard", description="standard: mean 0, deviation 1; minmax: 0 to 1. Fitted on training bars alone."
    )
    train: float = Field(0.7, gt=0, lt=1, description="Share of the series, from its start, to train on.")
    validation: float = Field(0.15, gt=0, lt=1, description="Share after it to choose by; the rest is the test part.")

    @field_validator("features")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in FEATURES:
                raise ValueError(f"{name!r} isn't a feature; choose from {', '.join(FEATURES)}")
        if len(set(names)) < len(names):
            raise ValueError("each feature may be named once")
        return names

    @field_validator("horizon")
    @classmethod
    def _rising(cls, horizon: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(horizon, tuple) and (not horizon or sorted(set(horizon)) != list(horizon)):
            raise ValueError("a list of horizons must rise and name each once")
        return horizon

    @property
    def horizons(self) -> tuple[int, ...]:
        """Every horizon; tables and verdicts that need one take the first."""
        return self.horizon if isinstance(self.horizon, tuple) else (self.horizon,)

    @model_validator(mode="after")
    def _leaves_a_test_part(self) -> Windows:
        if self.train + self.validation >= 1:
            raise ValueError(
                f"train + validation = {self.train + self.validation:g} leaves no test part; keep it under 1"
            )
        return self
