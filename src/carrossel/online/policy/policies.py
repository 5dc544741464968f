"""What a retraining policy is: when a model is fitted again, and on how much of the past."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from carrossel.bars.interval import nanoseconds, written
from carrossel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carrossel.online.config import Policy

Window = Literal["expanding", "rolling"]

NEVER = "never"
ON_DRIFT = "on drift"
WINDOWS: tuple[Window, ...] = ("expanding", "rolling")


@dataclass(frozen=True)
class RetrainingPolicy:
    """When to refit, and on what.

    Args:
        rule: `never`, `on drift`, or the time between two refits, such as `7d`.
        window: fit on all bars so far, or on the last `rolling_bars` of them.
    """

    rule: str
    window: Window

    @property
    def name(self) -> str:
        """Such as `7d rolling`."""
        return f"{self.rule} {self.window}"


def list_policies(config: Policy) -> tuple[RetrainingPolicy, ...]:
    """Every rule with every window: `never` first, then from seldom to often, `on drift` last."""
    clocks = sorted({nanoseconds(every) for every in config.every}, reverse=True)
    rules = [NEVER, *map(written, clocks), ON_DRIFT]
    return tuple(RetrainingPolicy(rule, window) for rule in rules for window in WINDOWS)


def refit_rows(stamps: NDArray[np.datetime64], first: int, every: int) -> list[int]:
    """Rows at which a model is refitted by the clock: the first bar at or after each multiple of `every`.

    Args:
        stamps: of the bars, rising, shape [time].
        first: row of the first fit, where the clock starts.
        every: nanoseconds.

    Raises:
        ConfigError: if that is less than a bar.
    """
    ticks = stamps[first:].astype("datetime64[ns]").astype(np.int64)
    bar = int(np.diff(ticks).min()) if len(ticks) > 1 else 0
    if every < bar:
        raise ConfigError(
            f"online.policy.every = {written(every)} is less than a bar, {written(bar)}. Nothing new is known in between: "
            "take longer times."
        )
    due = np.arange(ticks[0], ticks[-1] + 1, every)
    return [first + int(row) for row in np.unique(np.searchsorted(ticks, due))]
