from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from carrossel.bars.parsing.columns import choose, is_header
from carrossel.bars.parsing.numbers import to_float
from carrossel.bars.parsing.timestamps import to_utc
from carrossel.errors import SourceError


def column(*cells: Any, kind: Any = None) -> Any:
    return pa.chunked_array([pa.array(cells, kind)])


def times(*cells: Any, kind: Any = None, **settings: Any) -> list[str]:
    return [str(time) for time in to_utc(column(*cells, kind=kind), **settings).values.astype("datetime64[s]")]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("Timestamp,Open,High,Low,Close,Volume", ("Timestamp", "Close", "Volume")),
        (
            "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price",
            ("Timestamp", "Close", "Volume_(BTC)"),
        ),
        ("date,symbol,open,high,low,close,volume_btc,volume", ("date", "close", "volume_btc")),
        ("unix,date,symbol,open,high,low,close,Volume BTC,Volume USD", ("unix", "close", "Volume BTC")),
        (
            "Unix Timestamp,Date,Symbol,Open,High,Low,Close,Volume ETH,Volume USD",
            ("Unix Timestamp", "Close", "Volume ETH"),
        ),
        ("Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume", ("Open time", "Close", "Volume")),
        ("Date,Open,High,Low,Close,Adj Close,Volume", ("Date", "Close", "Volume")),
        ("Date,Close/Last,Volume,Open,High,Low", ("Date", "Close/Last", "Volume")),
        ("DateTime,Close", ("DateTime", "Close", None)),
        ("day,mean", ("day", "mean", None)),
    ],
)
def test_columns_are_known_by_their_usual_names(names: str, expected: tuple[str, str, str | None]) -> None:
    assert is_header(names.split(","), {})
    choice = choose(names.split(","), {})
    assert (choice.timestamp, choice.close, choice.volume) == expected


def test_a_date_beside_a_time_of_day_is_joined_with_it() -> None:
    assert choose(["Date", "Time", "Open", "High", "Low", "Close"], {}).time_of_day == "Time"


def test_a_column_named_by_the_user_wins() -> None:
    choice = choose(["Datum", "Open", "High", "Low", "Close", "Kurs"], {"timestamp": "Datum", "close": "Kurs"})

    assert (choice.timestamp, choice.close, choice.open) == ("Datum", "Kurs", None)


@pytest.mark.parametrize(
    ("names", "named", "message"),
    [
        (["a", "b"], {}, "no column looks like timestamp or close; the file has: 'a', 'b'"),
        (["Date", "Close"], {"close": "Kurs"}, "columns.close = 'Kurs': the file has no such column"),
        (["Date", "Open", "Close"], {}, "has open and close, but bars need open, high, low and close"),
    ],
)
def test_columns_that_are_not_understood_are_named(names: list[str], named: dict[str, str], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        choose(names, named)


def test_numbers_are_read_as_people_write_them() -> None:
    cells = ("1,657,300", "12.5", " 7 ", "$1,000.25", "-3", "1.66M", "2K", "1e3", None, "")

    numbers = to_float(column(*cells))

    expected = [1657300, 12.5, 7, 1000.25, -3, 1.66e6, 2000, 1000, np.nan, np.nan]
    # 1.66 × 10⁶ rounds once; everything else is exact.
    np.testing.assert_allclose(numbers.values, expected, rtol=1e-15)
    assert numbers.unreadable == 0


def test_a_decimal_comma_is_not_guessed_but_read_when_declared() -> None:
    assert to_float(column("1234,5", "7,25")).unreadable == 2
    np.testing.assert_array_equal(to_float(column("1.234,5", "7,25"), ",").values, [1234.5, 7.25])


def test_unreadable_cells_are_counted_with_examples() -> None:
    numbers = to_float(column("1", "one", "2"))

    assert (numbers.unreadable, numbers.examples) == (1, ("one",))
    np.testing.assert_array_equal(numbers.values, [1, np.nan, 2])


def test_a_column_without_any_value_is_nan() -> None:
    np.testing.assert_array_equal(to_float(column(None, None, kind=pa.null())).values, [np.nan, np.nan])


@pytest.mark.parametrize(
    "cell",
    [
        1571302800,
        1571302800.0,
        1571302800000,
        1571302800000000,
        1571302800000000000,
        "2019-10-17 09-AM",
        "2019-10-17 09:00",
        "2019-10-17 09:00:00",
        "2019-10-17T09:00:00Z",
        "2019-10-17T05:00:00-04:00",
        "2019-10-17 09:00:00+00:00",
        "10/17/2019 09:00",
        "17/10/2019 09:00",
        "17.10.2019 09:00",
        "2019.10.17 09:00",
        dt.datetime(2019, 10, 17, 9),  # noqa: DTZ001 -- files hold naive times
        dt.datetime(2019, 10, 17, 9, tzinfo=dt.UTC),
    ],
)
def test_a_time_is_read_in_any_of_the_usual_ways(cell: Any) -> None:
    assert times(cell, cell) == ["2019-10-17T09:00:00"] * 2


@pytest.mark.parametrize(
    "cell", [20191017, "2019-10-17", "10/17/2019", "17-Oct-2019", "Oct 17, 2019", dt.date(2019, 10, 17)]
)
def test_a_date_is_read_in_any_of_the_usual_ways(cell: Any) -> None:
    assert times(cell) == ["2019-10-17T00:00:00"]


def test_milliseconds_and_microseconds_in_one_column_are_told_apart() -> None:
    # Binance's archives changed from ms to µs on 2025-01-01.
    assert times(1735689540000, 1735689600000000) == ["2024-12-31T23:59:00", "2025-01-01T00:00:00"]


def test_seconds_as_float_gain_no_nanoseconds() -> None:
    assert to_utc(column(1325317920.0)).values[0] == np.datetime64(1325317920, "s")


def test_day_and_month_are_told_apart_by_the_whole_column() -> None:
    assert times("1/3/2017", "1/4/2017", "1/31/2017")[0] == "2017-01-03T00:00:00"
    assert times("3/1/2017", "4/1/2017", "31/1/2017")[0] == "2017-01-03T00:00:00"


def test_day_and_month_that_stay_ambiguous_are_asked_about() -> None:
    with pytest.raises(
        SourceError, match=r"'1/3/2017' can be read as %m/%d/%Y or %d/%m/%Y. Set the source's timestamp_format"
    ):
        times("1/3/2017", "1/4/2017")
    assert times("1/3/2017", text_format="%d/%m/%Y") == ["2017-03-01T00:00:00"]


def test_local_times_become_utc_and_the_hour_that_happens_twice_is_unreadable() -> None:
    stamps = times("2017-11-05 00:30", "2017-11-05 01:30", "2017-11-05 02:30", timezone="America/New_York")

    assert stamps == ["2017-11-05T04:30:00", "NaT", "2017-11-05T07:30:00"]


def test_numbers_that_are_no_times_and_lost_cells_are_unreadable() -> None:
    assert times(1571302800, None, 5, kind=pa.int64()) == ["2019-10-17T09:00:00", "NaT", "NaT"]
    assert times("2019-10-17 09:00", "2019-13-01", "soon") == ["2019-10-17T09:00:00", "NaT", "NaT"]


@pytest.mark.parametrize("cells", [("soon", "later"), (1, 2), (None, None)])
def test_a_column_without_any_time_is_refused(cells: tuple[Any, ...]) -> None:
    with pytest.raises(SourceError, match="no readable time"):
        times(*cells)


def test_a_timezone_that_does_not_exist_is_named() -> None:
    with pytest.raises(SourceError, match="timezone = 'Mars/Olympus' doesn't exist"):
        times("2019-10-17", timezone="Mars/Olympus")
