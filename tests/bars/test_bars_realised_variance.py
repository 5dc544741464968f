from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from carrossel.bars.config import Dataset
from carrossel.bars.grid import make_grid
from carrossel.bars.interval import nanoseconds
from carrossel.bars.resampling import resample
from carrossel.bars.schema import CANONICAL, check
from carrossel.bars.store import read_bars, write_bars
from carrossel.errors import BarsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carrossel.bars.preparation import Prepared


def dataset(**changes: Any) -> Dataset:
    values = {"source": {"kind": "sample", "name": "bitcoin"}, "interval": "1min", "resample": "1h", **changes}
    return Dataset.model_validate(values)


def variances(
    stamps: list[str],
    log_close: list[float],
    target: str = "1h",
    source: str = "15min",
    step: str | None = None,
    **how: Any,
) -> list[float]:
    """Realised variances of bars whose log closes are given; each opens at `how["log_open"]`, or at its close."""
    times = pd.DatetimeIndex(stamps).as_unit("ns").to_numpy().view(np.int64)
    close = np.exp(np.array(log_close))
    opens = np.exp(np.array(how.get("log_open", log_close), float))
    columns = {"open": opens, "high": close * 9, "low": close / 9, "close": close, "volume": close}
    calendar = how.get("calendar", "24/7")
    grids = [
        make_grid(calendar, nanoseconds(length), int(times[0]), int(times[-1]))
        for length in (source, target, step or source)
    ]
    bars, _ = resample({"timestamp": times, **columns}, grids[0], grids[1], steps=grids[2])
    found: list[float] = bars["realised_variance"].tolist()
    return found


def hours(*texts: str) -> list[str]:
    return [f"2020-01-01 {text}" for text in texts]


def test_squared_returns_add_up_and_the_first_one_starts_at_the_close_before() -> None:
    stamps = hours("00:00", "00:15", "00:30", "00:45", "01:00", "01:15", "01:30", "01:45")
    found = variances(stamps, [1, 3, 3, 4, 6, 6, 5, 5], log_open=[0, 9, 9, 9, 9, 9, 9, 9])
    # The very first return starts at the open: 1² + 2² + 0² + 1²; the second hour's at the close of 00:45: 2² + 0 + 1² + 0.
    assert found == pytest.approx([6, 5], rel=1e-12)


def test_after_a_gap_at_its_border_a_bar_starts_at_its_own_open() -> None:
    stamps = hours("00:00", "00:15", "00:30", "01:00", "01:15", "01:30", "01:45")
    found = variances(stamps, [0, 0, 0, 5, 5, 5, 6], log_open=[0, 0, 0, 3, 5, 5, 5])
    # 00:45 is absent, so 01:00 moves from its open 3 to 5: 2² + 1². No jump over the gap counts.
    assert found == pytest.approx([0, 5], abs=1e-12)


def test_a_gap_inside_of_a_bar_counts_as_one_return() -> None:
    found = variances(hours("00:00", "00:15", "00:45"), [1, 2, 5], log_open=[1, 1, 1])
    assert found == pytest.approx([0 + 1 + 9], rel=1e-12)


def test_a_bar_with_fewer_than_half_its_steps_has_no_variance() -> None:
    stamps = hours("00:00", "00:45", "01:00", "02:00", "02:45", "03:00", "03:15", "03:30", "03:45")
    found = variances(stamps, [0, 1, 1, 1, 1, 1, 1, 1, 1])
    # Two of four steps are half of them; one of four isn't.
    np.testing.assert_allclose(found, [1, np.nan, 0, 0], rtol=1e-12)


def test_a_step_ends_at_the_last_close_in_it() -> None:
    stamps = [f"2020-01-01 00:{minute:02d}" for minute in range(60)]
    path = np.random.default_rng(0).normal(0, 1, 60).cumsum()
    returns = np.diff(path[4::5], prepend=path[0])
    found = variances(stamps, path.tolist(), source="1min", step="5min")
    assert found == pytest.approx([(returns**2).sum()], rel=1e-12)


def test_a_night_is_in_no_variance() -> None:
    stamps = ["2020-07-01 13:30", "2020-07-01 14:30", "2020-07-01 15:30", "2020-07-01 16:30", "2020-07-01 17:30"]
    stamps += ["2020-07-01 18:30", "2020-07-01 19:30"]
    stamps += [stamp.replace("07-01", "07-02") for stamp in stamps]
    path = [0.0, 0, 0, 0, 0, 0, 1, 7, 7, 7, 7, 7, 7, 9]
    found = variances(stamps, path, "1d", "1h", calendar="XNYS", log_open=[0, 0, 0, 0, 0, 0, 0, 6.5, 7, 7, 7, 7, 7, 7])
    # New York opens 13:30 UTC; the night moves from 1 to 6.5, the second day from 6.5 to 7 and from 7 to 9.
    assert found == pytest.approx([1, 0.25 + 4], rel=1e-12)


def test_later_bars_leave_a_variance_alone() -> None:
    stamps = [str(time) for time in pd.date_range("2020-01-01", periods=16, freq="15min")]
    path = np.random.default_rng(1).normal(0, 1, 16).cumsum()
    changed = path.copy()
    changed[8:] += 3
    assert variances(stamps, path.tolist())[:2] == variances(stamps, changed.tolist())[:2]


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({}, "5min"),
        ({"interval": "5min"}, "5min"),
        ({"interval": "15min"}, "15min"),
        ({"interval": "2min"}, "2min"),
        ({"resample": "5min"}, "1min"),
        ({"resample": "12min"}, "1min"),
        ({"variance_interval": "30min"}, "30min"),
        ({"variance_interval": "1min"}, "1min"),
        ({"interval": "1h", "resample": None}, None),
    ],
)
def test_steps_are_five_minutes_where_they_fit(changes: dict[str, Any], step: str | None) -> None:
    assert dataset(**changes).variance_step == step


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resample": None, "variance_interval": "5min"}, "needs resample"),
        ({"variance_interval": "30s"}, "must be a whole multiple of interval '1min'"),
        ({"variance_interval": "7min"}, "divide resample '1h'"),
        ({"variance_interval": "1h"}, "into at least two"),
    ],
)
def test_steps_that_fit_nowhere_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        dataset(**changes)


@pytest.fixture
def hourly(
    prepared: Callable[..., Prepared], frame: Callable[..., pd.DataFrame], waves: Callable[[int], list[float]]
) -> Prepared:
    """Eight hours out of quarters, the third filled, the fifth to the seventh missing."""
    quarters = frame(waves(32), step="15min").drop(index=[*range(8, 12), *range(16, 28)]).reset_index(drop=True)
    return prepared(quarters, interval="15min", resample="1h")


def test_a_filled_bar_has_variance_zero_and_a_missing_one_none(hourly: Prepared) -> None:
    bars = hourly.bars
    assert bars["status"].tolist() == ["observed"] * 2 + ["filled", "observed"] + ["missing"] * 3 + ["observed"]
    assert bars["realised_variance"][2] == 0
    assert bars["realised_variance"][4:7].isna().all()
    assert (bars["realised_variance"][[0, 1, 3, 7]] > 0).all()
    assert hourly.report["variance_interval"] == "15min"


def test_the_column_survives_its_file(hourly: Prepared, tmp_path: Path) -> None:
    write_bars(tmp_path / "bars.parquet", hourly.bars)
    pd.testing.assert_frame_equal(read_bars(tmp_path / "bars.parquet"), hourly.bars)
    assert list(hourly.bars)[-2:] == ["realised_variance", "status"]


def test_bars_as_they_came_have_no_such_column(
    prepared: Callable[..., Prepared], frame: Callable[..., pd.DataFrame], waves: Callable[[int], list[float]]
) -> None:
    result = prepared(frame(waves(8)))
    assert "realised_variance" not in result.bars
    assert result.report["variance_interval"] is None


@pytest.mark.parametrize(("row", "value"), [(0, -1e-9), (0, np.inf), (4, 0.0)])
def test_an_impossible_variance_breaks_the_contract(hourly: Prepared, row: int, value: float) -> None:
    hourly.bars.loc[row, "realised_variance"] = value
    with pytest.raises(BarsError, match="realised variances aren't below zero"):
        check(hourly.bars, CANONICAL)
