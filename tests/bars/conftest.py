"""Tiny bars to break, one thing at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from carrossel.bars.config import Dataset, Repair
from carrossel.bars.preparation import Prepared, prepare
from carrossel.bars.sources.base import RawBars, frame_of

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = pd.Timestamp("2024-01-01", tz="UTC")


def make_frame(closes: list[float], *, start: str = "2020-01-01", step: str = "1h") -> pd.DataFrame:
    """Bars whose open is the close before, one unit of range on both sides, volume 1, 2, 3, …"""
    close = np.array(closes, float)
    opens = np.concatenate([close[:1], close[:-1]])
    stamps = pd.date_range(start, periods=len(close), freq=step).as_unit("ns").to_numpy()
    columns = {
        "open": opens,
        "high": np.maximum(opens, close) * 1.01,
        "low": np.minimum(opens, close) * 0.99,
        "close": close,
        "volume": np.arange(1.0, len(close) + 1),
    }
    return frame_of(stamps, columns)


def wave(size: int) -> list[float]:
    """Closes that never repeat."""
    return [100 + 5 * float(np.sin(i / 3)) + i / 100 for i in range(size)]


@pytest.fixture
def frame() -> Callable[..., pd.DataFrame]:
    return make_frame


@pytest.fixture
def waves() -> Callable[[int], list[float]]:
    return wave


@pytest.fixture
def prepared() -> Callable[..., Prepared]:
    def run(frame: pd.DataFrame, *, now: pd.Timestamp = NOW, longest_fill: int = 2, **dataset: Any) -> Prepared:
        settings = {"source": {"kind": "sample", "name": "bitcoin"}, "interval": "1h", **dataset}
        return prepare(
            RawBars(frame, {"kind": "test"}),
            Dataset.model_validate(settings),
            Repair(longest_fill=longest_fill),
            name="tiny",
            now=now,
        )

    return run


@pytest.fixture
def counted() -> Callable[[Prepared], dict[str, int]]:
    def count(result: Prepared) -> dict[str, int]:
        return {finding["check"]: finding["count"] for finding in result.report["findings"] if finding["count"]}

    return count
