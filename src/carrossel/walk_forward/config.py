"""Section `walk_forward` of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from carrossel.config import Section

# What decides a fold's bars; all else decides which tasks there are and where they run.
FOLD_KEYS = {"window", "rolling_bars", "refit_every", "folds", "validation", "embargo"}


class WalkForward(Section):
    """Which models are refitted how often, on which bars, and where."""

    models: tuple[str, ...] = Field(min_length=1, description="Names of entries in cells or baselines.")
    window: Literal["expanding", "rolling"] = Field(
        "expanding", description="Train on all bars so far, or on the last rolling_bars of them."
    )
    rolling_bars: int | None = Field(
        None, ge=1, description="Bars of a rolling window, its validation part included; no bar before them is seen."
    )
    refit_every: int | None = Field(None, ge=1, description="Bars from one refit to the next; null: `folds` decides.")
    folds: int = Field(
        4, ge=1, description="Where refit_every is null: into how many folds of equal length the test part is cut."
    )
    validation: float = Field(
        0.15, gt=0, lt=1, description="Share of each training window, cut from its end, that early stopping looks at."
    )
    embargo: int = Field(
        0, ge=0, description="Bars left out before a fold besides the lookback, which is always left out."
    )
    seeds: int = Field(5, ge=1, description="Seeds 1 … k of every model that draws something; the others run once.")
    epochs: int | None = Field(None, ge=1, description="Epochs of a network, at most; null: training.epochs.")
    scheduler: str | None = Field(
        None,
        pattern=r"^(tcp|tls)://[^\s/]+:\d+$",
        description="Address of a running Dask scheduler, such as tcp://10.0.0.5:8786; null: processes on this machine.",
    )
    workers: int = Field(2, ge=1, description="Where scheduler is null: local processes, of one thread each.")

    @model_validator(mode="after")
    def _rolling_has_a_length(self) -> WalkForward:
        if self.window == "rolling" and self.rolling_bars is None:
            raise ValueError("window: rolling needs rolling_bars, the bars to train on")
        return self

    @model_validator(mode="after")
    def _each_model_once(self) -> WalkForward:
        if len(set(self.models)) < len(self.models):
            raise ValueError("models: each may be named once")
        return self
