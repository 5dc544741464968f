"""Series whose law is known: to see what a forecaster learns where there is something, or nothing, to learn."""

from __future__ import annotations

import datetime as dt
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from carrossel.bars.interval import Interval, nanoseconds
from carrossel.bars.sources.base import RawBars, Source, SourceConfig, frame_of

Series = tuple[np.ndarray, np.ndarray, np.ndarray]

_STEPS_PER_BAR = 10
_TRANSIENT_BARS = 300


class Synthetic(Source, kind="synthetic"):
    """A seeded series: the same config gives the same bars."""

    class Config(SourceConfig):
        """Law, seed, grid and size of the series."""

        kind: Literal["synthetic"]
        process: Literal["random_walk", "sine", "mackey_glass"] = Field(
            description="random_walk: nothing to learn; sine: everything; mackey_glass: chaos with a law."
        )
        seed: int = Field(1, ge=0, description="Seed of all randomness.")
        start: dt.datetime = Field(
            dt.datetime(2020, 1, 1, tzinfo=dt.UTC), description="Start of the first bar; UTC unless it says otherwise."
        )
        interval: Interval = Field("1h", description="Length of a bar; the dataset's interval must be the same.")
        length: int = Field(5000, ge=2, le=50_000_000, description="Number of bars.")
        level: float = Field(100.0, gt=0, le=1e9, description="First price, or the price that the wave swings around.")
        volatility: float = Field(
            0.01, ge=0, le=1, description="random_walk: standard deviation of the log return per bar."
        )
        drift: float = Field(0.0, ge=-1, le=1, description="random_walk: mean log return per bar.")
        period: float = Field(24.0, gt=0, description="sine: bars per wave.")
        amplitude: float = Field(0.1, gt=0, lt=1, description="sine: swing as a share of the level.")

        @model_validator(mode="after")
        def _representable(self) -> Self:
            if self.last_nanosecond > np.iinfo(np.int64).max or self.start.year < 1700:  # noqa: PLR2004 -- int64 ns
                raise ValueError(
                    f"{self.length} bars of {self.interval} from {self.start} leave the years 1700 to 2262"
                )
            if abs(self.drift) * self.length + 10 * self.volatility * self.length**0.5 > 600:  # noqa: PLR2004 -- exp
                raise ValueError("drift, volatility and length together lead to prices that float64 can't hold")
            return self

        @property
        def first_nanosecond(self) -> int:
            """Start of the first bar since 1970 in UTC."""
            start = self.start if self.start.tzinfo else self.start.replace(tzinfo=dt.UTC)
            return round((start - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) / dt.timedelta(microseconds=1)) * 1000

        @property
        def last_nanosecond(self) -> int:
            """End of the last bar since 1970 in UTC."""
            return self.first_nanosecond + self.length * nanoseconds(self.interval)

    config: Config

    def fetch(self) -> RawBars:
        config = self.config
        rng = np.random.default_rng(config.seed)
        if config.process == "random_walk":
            path = random_walk(config.length, config.volatility, config.drift, rng)
        elif config.process == "sine":
            path = sine(config.length, config.period, config.amplitude)
        else:
            path = mackey_glass(config.length, rng)
        closes, highs, lows = (config.level * values for values in path)
        opens = closes[:-1]
        columns = {
            "open": opens,
            "high": np.maximum(highs[1:], np.maximum(opens, closes[1:])),
            "low": np.minimum(lows[1:], np.minimum(opens, closes[1:])),
            "close": closes[1:],
            "volume": rng.lognormal(mean=5.0, sigma=0.5, size=config.length),
        }
        stamps = config.first_nanosecond + nanoseconds(config.interval) * np.arange(config.length, dtype=np.int64)
        told = config.model_dump(mode="json")
        return RawBars(frame_of(stamps.view("datetime64[ns]"), columns), {**told, "origin": "computed by carrossel"})


def random_walk(length: int, volatility: float, drift: float, rng: np.random.Generator) -> Series:
    """Geometric random walk: log returns are independent N(drift, volatility²).

    Returns:
        Closes, highs and lows of `length + 1` bars relative to the first close, which is 1. A bar's extremes lie half
        a normal excursion outside of its open and close.
    """
    closes = np.exp(np.concatenate([[0.0], np.cumsum(drift + volatility * rng.standard_normal(length))]))
    up, down = np.abs(rng.standard_normal((2, length + 1))) * volatility / 2
    before = np.concatenate([closes[:1], closes[:-1]])
    return closes, np.maximum(before, closes) * np.exp(up), np.minimum(before, closes) * np.exp(-down)


def sine(length: int, period: float, amplitude: float) -> Series:
    """1 + amplitude · sin(2πt / period) at t = 0 … length; highs and lows are those of the closes."""
    closes = 1 + amplitude * np.sin(2 * np.pi * np.arange(length + 1) / period)
    return closes, closes, closes


def mackey_glass(length: int, rng: np.random.Generator) -> Series:
    """Chaotic blood-cell series, one time unit per bar: dx/dt = 0.2 x(t−τ) / (1 + x(t−τ)¹⁰) − 0.1 x(t), τ = 17.

    The constant history before t = 0 is 1.2 ± 0.1, drawn from `rng`; the first 300 bars are thrown away, since they
    still remember it.

    Returns:
        Values at the ends of `length + 1` bars, and the largest and smallest inside of each.

    References:
        Mackey & Glass (1977), Oscillation and chaos in physiological control systems, Science 197, eq. 4b.
    """
    bars = length + 1 + _TRANSIENT_BARS
    x = integrate_mackey_glass(1.2 + 0.1 * rng.uniform(-1, 1), bars, steps_per_unit=_STEPS_PER_BAR)
    inside = x[1:].reshape(bars, _STEPS_PER_BAR)[_TRANSIENT_BARS:]
    return inside[:, -1].copy(), inside.max(axis=1), inside.min(axis=1)


def integrate_mackey_glass(history: float, units: int, steps_per_unit: int, tau: int = 17) -> np.ndarray:
    """Fourth-order Runge-Kutta steps of the equation in `mackey_glass` from a constant history.

    Returns:
        `units · steps_per_unit + 1` values, the first of them `history`. The delayed value at half a step is the mean of its
        neighbours, so the error is of second order in the step.
    """
    step = 1 / steps_per_unit
    delay = tau * steps_per_unit
    x = [history] * (delay + 1)

    def slope(now: float, delayed: float) -> float:
        return 0.2 * delayed / (1 + delayed**10) - 0.1 * now

    for i in range(units * steps_per_unit):
        now, then, after = x[-1], x[i], x[i + 1]
        half = (then + after) / 2
        k1 = slope(now, then)
        k2 = slope(now + step / 2 * k1, half)
        k3 = slope(now + step / 2 * k2, half)
        k4 = slope(now + step * k3, after)
        x.append(now + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return np.array(x[delay:])
