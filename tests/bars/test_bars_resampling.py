from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from carrossel.bars.grid import make_grid
from carrossel.bars.interval import nanoseconds
from carrossel.bars.resampling import resample

if TYPE_CHECKING:
    from carrossel.bars.resampling import Price


def minutes(*texts: str) -> np.ndarray:
    return pd.DatetimeIndex(texts).as_unit("ns").to_numpy().view(np.int64)


def series(stamps: np.ndarray) -> dict[str, np.ndarray]:
    """Closes 10, 11, 12, …; open one below, high two above, low three below; volume 1, 2, 3, …"""
    close = 10.0 + np.arange(len(stamps))
    return {
        "timestamp": stamps,
        "open": close - 1,
        "high": close + 2,
        "low": close - 3,
        "close": close,
        "volume": 1.0 + np.arange(len(stamps)),
    }


def aggregate(
    stamps: np.ndarray, source: str, target: str, price: Price = "last", calendar: str = "24/7"
) -> tuple[list[list[float]], list[str], list[int]]:
    grids = [make_grid(calendar, nanoseconds(step), int(stamps[0]), int(stamps[-1])) for step in (source, target)]
    bars, counts = resample(series(stamps), grids[0], grids[1], price)
    rows = np.stack([bars[name] for name in ("open", "high", "low", "close", "volume")], axis=1)
    return rows.tolist(), [pd.Timestamp(int(t)).strftime("%m-%d %H:%M") for t in bars["timestamp"]], counts.tolist()


def test_four_quarters_make_an_hour() -> None:
    stamps = minutes("2020-01-01 00:00", "2020-01-01 00:15", "2020-01-01 00:30", "2020-01-01 00:45")

    rows, labels, counts = aggregate(stamps, "15min", "1h")

    # first open 9, highest high 13 + 2, lowest low 10 − 3, last close 13, volume 1 + 2 + 3 + 4
    assert rows == [[9, 15, 7, 13, 10]]
    assert labels == ["01-01 00:00"]
    assert counts == [4]


def test_the_mean_price_is_the_mean_of_the_closes() -> None:
    stamps = minutes("2020-01-01 00:00", "2020-01-01 00:15", "2020-01-01 00:30", "2020-01-01 00:45")

    assert aggregate(stamps, "15min", "1h", "mean")[0] == [[9, 15, 7, 11.5, 10]]


def test_an_hour_that_the_series_does_not_reach_at_either_end_is_no_bar() -> None:
    stamps = minutes("2020-01-01 00:15", "2020-01-01 00:45", "2020-01-01 01:00", "2020-01-01 01:45", "2020-01-01 02:30")

    _, labels, counts = aggregate(stamps, "15min", "1h")

    assert labels == ["01-01 01:00"]
    assert counts == [2]


def test_an_hour_inside_without_any_bar_stays_absent() -> None:
    stamps = minutes("2020-01-01 00:00", "2020-01-01 00:45", "2020-01-01 02:00", "2020-01-01 02:45")

    assert aggregate(stamps, "15min", "1h")[1] == ["01-01 00:00", "01-01 02:00"]


def test_a_session_of_minutes_makes_a_day_stamped_with_its_date() -> None:
    stamps = minutes("2020-07-01 13:30", "2020-07-01 16:00", "2020-07-01 19:59", "2020-07-02 13:30", "2020-07-02 19:59")

    rows, labels, counts = aggregate(stamps, "1min", "1d", calendar="XNYS")

    assert labels == ["07-01 00:00", "07-02 00:00"]
    assert counts == [3, 2]
    assert [row[3] for row in rows] == [12, 14]


def test_a_volume_is_unknown_only_where_all_of_it_is() -> None:
    stamps = minutes("2020-01-01 00:00", "2020-01-01 00:30", "2020-01-01 01:00", "2020-01-01 01:30")
    grids = [make_grid("24/7", nanoseconds(step), 0, 0) for step in ("30min", "1h")]
    bars = {**series(stamps), "volume": np.array([np.nan, 5.0, np.nan, np.nan])}

    np.testing.assert_array_equal(resample(bars, grids[0], grids[1])[0]["volume"], [5.0, np.nan])


@pytest.mark.parametrize("price", ["last", "mean"])
def test_aggregating_agrees_with_pandas(price: Price) -> None:
    rng = np.random.default_rng(0)
    stamps = pd.date_range("2020-01-01", periods=48 * 60, freq="1min").as_unit("ns")[rng.random(48 * 60) < 0.9]
    closes = rng.uniform(1, 2, len(stamps))
    bars = {"open": closes, "high": closes + 1, "low": closes / 2, "close": closes, "volume": closes * 3}
    grids = [make_grid("24/7", nanoseconds(step), 0, 0) for step in ("1min", "1h")]

    ours, _ = resample({"timestamp": stamps.to_numpy().view(np.int64), **bars}, grids[0], grids[1], price)

    how = {"open": "first", "high": "max", "low": "min", "close": price, "volume": "sum"}
    theirs = pd.DataFrame(bars, index=stamps).resample("1h").agg(how)
    theirs = theirs.loc[pd.DatetimeIndex(ours["timestamp"])]
    assert len(theirs) >= 46
    for name in how:
        # Sums of up to 60 numbers in another order.
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-13)
