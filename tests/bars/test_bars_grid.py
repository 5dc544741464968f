from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from carrossel.bars.grid import make_grid
from carrossel.bars.interval import DAY, nanoseconds
from carrossel.errors import BarsError, ConfigError

HOUR = nanoseconds("1h")


def stamp(text: str) -> int:
    return int(pd.Timestamp(text).as_unit("ns").value)


def stamps(*texts: str) -> np.ndarray:
    return np.array([stamp(text) for text in texts], np.int64)


def spelled(values: np.ndarray) -> list[str]:
    return [pd.Timestamp(int(value)).strftime("%Y-%m-%d %H:%M") for value in values]


def test_a_market_that_never_closes_has_a_bar_for_every_interval() -> None:
    grid = make_grid("24/7", HOUR, 0, 0)
    times = stamps("2020-01-04 00:00", "2020-01-05 03:00", "2020-01-05 03:20")

    places = grid.place(times)

    assert (places - places[0]).tolist() == [0, 27, 27]
    assert grid.has(times).tolist() == [True, True, False]
    assert spelled(grid.label(places)) == ["2020-01-04 00:00", "2020-01-05 03:00", "2020-01-05 03:00"]
    assert spelled(grid.end(places[:1])) == ["2020-01-04 01:00"]


def test_daily_sessions_leave_out_weekends_and_holidays() -> None:
    grid = make_grid("XNYS", DAY, stamp("2012-10-01"), stamp("2012-12-31"))
    # Hurricane Sandy closed New York on Monday and Tuesday; the 27th and 28th were a weekend.
    times = stamps("2012-10-26", "2012-10-29", "2012-10-31", "2012-11-01")

    assert grid.has(times).tolist() == [True, False, True, True]
    assert np.diff(grid.place(times[[0, 2, 3]])).tolist() == [1, 1]


def test_a_daily_bar_lasts_from_open_to_close_of_its_session() -> None:
    grid = make_grid("XNYS", DAY, stamp("2020-07-01"), stamp("2020-12-01"))
    # Summer time: 9:30 to 16:00 in New York; the day after Thanksgiving closes at 13:00, in winter time.
    places = grid.place(stamps("2020-07-01", "2020-11-27"))

    assert spelled(grid.start(places)) == ["2020-07-01 13:30", "2020-11-27 14:30"]
    assert spelled(grid.end(places)) == ["2020-07-01 20:00", "2020-11-27 18:00"]


def test_a_daily_stamp_with_a_time_of_day_means_its_date_on_the_exchanges_clock() -> None:
    grid = make_grid("XNYS", DAY, stamp("2020-07-01"), stamp("2020-07-31"))

    snapped = grid.snap(stamps("2020-07-01 04:00", "2020-07-02 20:00", "2020-07-06"))

    assert spelled(snapped) == ["2020-07-01 00:00", "2020-07-02 00:00", "2020-07-06 00:00"]


def test_hours_of_sessions_start_at_the_open_and_the_last_ends_at_the_close() -> None:
    grid = make_grid("XNYS", HOUR, stamp("2020-07-01"), stamp("2020-07-02"))
    places = grid.place(stamps("2020-07-01 13:30", "2020-07-01 19:30", "2020-07-02 13:30"))

    assert np.diff(places).tolist() == [6, 1]
    assert spelled(grid.end(places)) == ["2020-07-01 14:30", "2020-07-01 20:00", "2020-07-02 14:30"]
    assert grid.has(stamps("2020-07-01 14:00")).tolist() == [False]


def test_a_stamp_before_the_grid_is_not_on_it() -> None:
    grid = make_grid("XNYS", DAY, stamp("2020-07-01"), stamp("2020-07-31"))

    assert grid.has(stamps("1990-01-02")).tolist() == [False]


def test_an_exchange_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match="calendar = 'NYSE1': no exchange has that code"):
        make_grid("NYSE1", DAY, 0, DAY)


def test_years_that_a_calendar_does_not_know_are_named() -> None:
    with pytest.raises(BarsError, match="calendar XKRX doesn't cover 1900-01-01"):
        make_grid("XKRX", DAY, stamp("1900-01-01"), stamp("1900-02-01"))
