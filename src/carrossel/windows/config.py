"""Section `windows` of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from carrossel.config import Section
from carrossel.windows.features import FEATURES


class Windows(Section):
    """How a series is cut into windows and split by time."""

    lookback: int = Field(ge=1, description="Bars in a window.")
    horizon: int = Field(1, ge=1, description="Bars from a window's last bar to the bar forecast.")
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

    @model_validator(mode="after")
    def _leaves_a_test_part(self) -> Windows:
        if self.train + self.validation >= 1:
            raise ValueError(
                f"train + validation = {self.train + self.validation:g} leaves no test part; keep it under 1"
            )
        return self
