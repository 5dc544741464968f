"""Section `online` of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from carrossel.bars.interval import Interval  # noqa: TC001 - pydantic reads annotations at run time
from carrossel.config import Section


class Gate(Section):
    """What a challenger must show before it becomes champion."""

    rows: int = Field(
        default=200, ge=30, description="Fewest bars, unseen by both, to compare challenger and champion on."
    )
    level: float = Field(
        default=0.1,
        gt=0,
        le=0.5,
        description="Of Diebold & Mariano's test that the challenger is better than the champion on those bars; with 0.5 a "
        "lower mean loss is enough.",
    )
    slack: float = Field(
        default=0.03,
        ge=0,
        lt=0.5,
        description="How far the share of truths that the intervals hold on unseen bars may be under their level.",
    )


class Champion(Section):
    """How long a champion serves."""

    expires: Interval | None = Field(
        default=None,
        description="Age of its newest training bar from which on persistence serves instead, such as 30d.",
    )


class Retrain(Section):
    """What `carrossel retrain` trains."""

    cells: tuple[str, ...] = Field(
        default=("lstm",), min_length=1, description="Entries of `cells` that enter as challengers."
    )
    warm_start: bool = Field(
        default=True, description="Whether the champion, trained on, enters as one more challenger."
    )


class Drift(Section):
    """When the world counts as changed: a retraining is due then."""

    detector: Literal["adwin", "page_hinkley"] = Field(default="adwin", description="river's detector.")
    delta: float = Field(
        default=0.002,
        gt=0,
        lt=1,
        description="Chance of a false alarm that the detector aims at: smaller alarms less often.",
    )
    warm_up: int = Field(
        default=500,
        ge=100,
        description="Bars that a stream learns from what is usual, at the start and after an alarm.",
    )


class Watch(Section):
    """How `carrossel watch` runs."""

    state: Literal["window", "carried"] = Field(
        default="window",
        description="window: each forecast from a fresh window, as trained; carried: the cell's state goes on from bar to bar.",
    )
    delay_seconds: float = Field(default=5.0, ge=0, description="Wait after a bar's close before asking for it.")
    retrain_every: int | None = Field(
        default=None, ge=1, description="Bars between retrainings; none leaves them to drift."
    )
    retrain_on_drift: bool = Field(default=True, description="Whether a drift alarm starts a retraining.")


class Serve(Section):
    """How `carrossel serve` runs."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; others than 127.0.0.1 want a token.")
    port: int = Field(default=8000, ge=1, le=65535, description="Port to listen on.")
    token_variable: str = Field(
        default="CARROSSEL_TOKEN", description="Environment variable with the bearer token; unset: none."
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes that answer, each with the models of its own; one a core is enough.",
    )
    largest_body: int = Field(default=1_000_000, ge=1_000, description="Bytes of a request, at most.")
    most_bars: int = Field(default=5_000, ge=2, description="Bars of a request, at most.")
    refresh_seconds: float = Field(default=5.0, gt=0, description="Between looks at the champion's alias.")


class Policy(Section):
    """What `carrossel policy` compares."""

    model: str = Field(default="lstm", description="Entry of `cells` or `baselines` that is refitted.")
    epochs: int | None = Field(default=4, ge=1, description="Of a network's refit; none: as in `training`.")
    every: tuple[Interval, ...] = Field(
        default=("1d", "7d", "30d"), description="Time between refits, one policy each."
    )
    rolling_bars: int = Field(default=8_000, ge=100, description="Bars of the rolling training window.")


class Online(Section):
    """Models in use."""

    store: str | None = Field(
        default=None,
        description="SQLAlchemy URL of ledger and predictions, such as postgresql+psycopg://host/name; none: online.db beside "
        "params.yaml; CARROSSEL_STORE wins over both, so that a password stays out of this file.",
    )
    gate: Gate = Field(default=Gate(), description="What a challenger must show.")
    champion: Champion = Field(default=Champion(), description="How long a champion serves.")
    retrain: Retrain = Field(default=Retrain(), description="What retraining trains.")
    drift: Drift = Field(default=Drift(), description="When retraining is due.")
    watch: Watch = Field(default=Watch(), description="The loop.")
    serve: Serve = Field(default=Serve(), description="The server.")
    policy: Policy = Field(default=Policy(), description="The backtest of retraining policies.")
