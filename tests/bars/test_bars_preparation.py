from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrossel.bars.config import Dataset, Repair
from carrossel.bars.preparation import prepare
from carrossel.bars.sources.base import COLUMNS, RawBars, frame_of
from carrossel.errors import BarsError, SeriesTooShort

if TYPE_CHECKING:
    from collections.abc import Callable

PRICES = ["open", "high", "low", "close"]
HOURLY = Dataset.model_validate({"source": {"kind": "sample", "name": "bitcoin"}, "interval": "1h"})
NOW = pd.Timestamp("2024-01-01", tz="UTC")


def statuses(result: Any) -> str:
    return "".join(result.bars["status"].str[0])


def test_clean_bars_stay_as_they_are(frame: Any, waves: Any, prepared: Any, counted: Any) -> None:
    raw = frame(waves(50))

    result = prepared(raw)

    pd.testing.assert_frame_equal(result.bars[list(COLUMNS)], raw)
    assert statuses(result) == "o" * 50
    assert counted(result) == {}


def test_a_short_gap_carries_the_last_close_and_a_long_one_stays_missing(frame: Any, waves: Any, prepared: Any) -> None:
    raw = frame(waves(20)).drop(index=[3, 4, 10, 11, 12])

    result = prepared(raw, longest_fill=2)

    assert statuses(result) == "ooo" + "ff" + "ooooo" + "mmm" + "ooooooo"
    assert (result.bars.loc[[3, 4], PRICES] == raw["close"][2]).all(axis=None)
    assert result.bars.loc[[3, 4], "volume"].tolist() == [0, 0]
    assert result.bars.loc[[10, 11, 12], [*PRICES, "volume"]].isna().all(axis=None)
    assert result.report["gaps"]["count"] == 2
    assert result.report["gaps"]["longest"][0] == {
        "first": "2020-01-01 10:00",
        "last": "2020-01-01 12:00",
        "bars": 3,
        "status": "missing",
    }


def test_nothing_is_filled_when_filling_is_off(frame: Any, waves: Any, prepared: Any) -> None:
    assert statuses(prepared(frame(waves(5)).drop(index=2), longest_fill=0)) == "oomoo"


def test_a_series_without_volume_stays_without_it_where_it_is_filled(frame: Any, waves: Any, prepared: Any) -> None:
    result = prepared(frame(waves(6)).assign(volume=np.nan).drop(index=2))

    assert statuses(result) == "oofooo"
    assert result.bars["volume"].isna().all()


def test_only_the_newest_bars_are_used_where_that_is_asked_for(frame: Any, waves: Any, prepared: Any) -> None:
    bars = frame(waves(30))

    everything, rolling, short = (prepared(bars, newest=number) for number in (None, 12, 50))

    pd.testing.assert_frame_equal(rolling.bars, everything.bars.iloc[-12:].reset_index(drop=True))
    assert (rolling.report["newest"], rolling.report["left_out"], rolling.report["bars"]["rows"]) == (12, 18, 12)
    pd.testing.assert_frame_equal(short.bars, everything.bars)
    assert (everything.report["left_out"], short.report["left_out"]) == (0, 0)


def test_the_newest_bars_begin_with_one_that_was_observed(frame: Any, waves: Any, prepared: Any) -> None:
    bars = frame(waves(30)).drop(index=[17, 18, 19]).reset_index(drop=True)

    rolling = prepared(bars, newest=12)

    assert rolling.bars["timestamp"].iloc[0] == pd.Timestamp("2020-01-01 20:00", tz="UTC")
    assert (len(rolling.bars), rolling.report["bars"]["missing"]) == (10, 0)


def test_newest_first_is_turned_round(frame: Any, waves: Any, prepared: Any, counted: Any) -> None:
    raw = frame(waves(20))

    result = prepared(raw[::-1].reset_index(drop=True))

    pd.testing.assert_frame_equal(result.bars, prepared(raw).bars)
    assert counted(result) == {"unordered": 19}


def test_of_conflicting_rows_the_last_in_the_file_is_kept(frame: Any, waves: Any, prepared: Any, counted: Any) -> None:
    raw = frame(waves(200))
    other = raw.iloc[[7]].assign(volume=999.0)

    after, before = (prepared(pd.concat(parts, ignore_index=True)) for parts in ([raw, other], [other, raw]))

    assert after.bars["volume"][7] == 999
    assert before.bars["volume"][7] == 8
    assert counted(after)["conflicting_duplicates"] == counted(before)["conflicting_duplicates"] == 1


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        ("close", np.nan, "without_price"),
        ("open", np.inf, "without_price"),
        ("low", 0.0, "not_positive"),
        ("close", -5.0, "not_positive"),
        ("volume", -1.0, "not_positive"),
        ("high", 90.0, "outside_range"),
        ("close", 1.06, "outside_range"),
    ],
)
def test_a_bad_row_becomes_a_gap_and_is_listed(
    frame: Any, waves: Any, prepared: Any, counted: Any, column: str, value: float, check: str
) -> None:
    raw = frame(waves(20))
    raw.loc[5, column] = value

    result = prepared(raw, longest_fill=0)

    assert statuses(result) == "ooooo" + "m" + "o" * 14
    assert counted(result) == {check: 1}
    finding = next(f for f in result.report["findings"] if f["count"])
    assert finding["examples"][0]["timestamp"] == "2020-01-01 05:00"


def test_a_bad_print_becomes_a_gap(frame: Any, waves: Any, prepared: Any, counted: Any) -> None:
    raw = frame(waves(20))
    raw.loc[5, PRICES] = 1.06

    result = prepared(raw, longest_fill=0)

    assert statuses(result) == "ooooo" + "m" + "o" * 14
    assert counted(result) == {"bad_prints": 1}


def test_copied_bars_become_a_gap(frame: Any, waves: Any, prepared: Any, counted: Any) -> None:
    raw = frame(waves(400))
    raw.loc[20:22, [*PRICES, "volume"]] = raw.loc[15:17, [*PRICES, "volume"]].to_numpy()

    result = prepared(raw)

    assert statuses(result) == "o" * 20 + "mmm" + "o" * 377
    assert counted(result) == {"copies": 3}


def test_a_range_too_narrow_by_rounding_is_widened(frame: Any, waves: Any, prepared: Any, counted: Any) -> None:
    raw = frame(waves(20))
    raw.loc[5, "high"] = raw.loc[5, ["open", "close"]].max() * 0.9995

    result = prepared(raw)

    assert result.bars["high"][5] == raw.loc[5, ["open", "close"]].max()
    assert counted(result) == {"range_widened": 1}


def test_a_bar_that_is_not_over_yet_is_left_out(frame: Any, waves: Any, prepared: Any, counted: Any) -> None:
    raw = frame(waves(10))

    result = prepared(raw, now=pd.Timestamp("2020-01-01 09:59", tz="UTC"))

    assert len(result.bars) == 9
    assert counted(result) == {"unfinished": 1}
    assert len(prepared(raw, now=pd.Timestamp("2020-01-01 10:00", tz="UTC")).bars) == 10


def test_minutes_become_hours_and_the_unfinished_last_hour_is_no_bar(frame: Any, waves: Any, prepared: Any) -> None:
    result = prepared(frame(waves(200), step="1min"), interval="1min", resample="1h")

    assert result.bars["timestamp"].dt.hour.tolist() == [0, 1, 2]
    assert result.bars["volume"].tolist() == [sum(range(1, 61)), sum(range(61, 121)), sum(range(121, 181))]


def test_an_exchanges_day_without_session_is_left_out_and_listed(
    frame: Any, waves: Any, prepared: Any, counted: Any
) -> None:
    sessions = pd.bdate_range("2020-06-01", "2020-12-31").difference(
        pd.to_datetime(["2020-07-03", "2020-09-07", "2020-11-26", "2020-12-25"])
    )
    raw = frame(waves(len(sessions) + 1))
    raw["timestamp"] = sessions.union([pd.Timestamp("2020-07-04")]).as_unit("ns").tz_localize("UTC")

    result = prepared(raw, interval="1d", calendar="XNYS")

    assert statuses(result) == "o" * len(sessions)
    assert counted(result) == {"off_grid": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.iloc[:0], "tiny has no bars"),
        (lambda raw: raw.assign(high=np.nan), "column high holds no number in any of 50 rows"),
        (
            lambda raw: raw.assign(close=raw["close"].where(raw.index % 5 != 0, -1)),
            "impossible numbers in 10 of 50 rows",
        ),
        (lambda raw: raw.assign(close=raw["close"] * 2), "outside of low … high in 50 of 50 rows, more than 1%"),
        (lambda raw: pd.concat([raw, raw.assign(volume=5.0)]), "conflicting duplicates in 49 of 100 rows"),
        (lambda raw: raw.assign(**dict.fromkeys(PRICES, 7.0)), "all 50 closes are 7; a constant series"),
        (lambda raw: raw[raw.index % 4 == 0], "most bars are 4h apart, but datasets.tiny.interval is 1h. Set it to 4h"),
        (
            lambda raw: raw.assign(timestamp=raw["timestamp"] + pd.Timedelta(minutes=1)),
            "bars off the grid in 50 of 50 rows, more than 1%; the first is 2020-01-01 00:01 UTC",
        ),
        (
            lambda raw: raw.assign(
                timestamp=raw["timestamp"].where(raw.index > 0, pd.Timestamp("1970-01-01", tz="UTC"))
            ),
            "the longest hole is from 1970-01-01 00:00 to 2020-01-01 01:00",
        ),
        (
            lambda raw: raw.assign(timestamp=raw["timestamp"] + pd.Timedelta(days=36500)),
            "50 of 50 bars lie in the future, the first at 2119-12-08 00:00 UTC",
        ),
    ],
)
def test_what_no_rule_repairs_is_refused_in_one_sentence(
    frame: Any, waves: Any, prepared: Any, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    with pytest.raises(BarsError, match=message):
        prepared(change(frame(waves(50))).reset_index(drop=True))


@pytest.mark.parametrize(
    ("size", "settings", "message"),
    [
        (1, {}, "1 of 1 rows are usable bars"),
        (20, {"resample": "1d"}, "20 bars of 1h make 0 whole bars of 1d"),
    ],
)
def test_too_few_bars_are_refused(
    frame: Any, waves: Any, prepared: Any, size: int, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SeriesTooShort, match=message):
        prepared(frame(waves(size)), **settings)


def test_the_source_is_not_changed(frame: Any, waves: Any, prepared: Any) -> None:
    raw = frame(waves(20))
    raw.loc[5, "high"] = raw.loc[5, "close"] * 0.9999
    raw = raw.drop(index=7).reset_index(drop=True)
    before = raw.copy(deep=True)

    prepared(raw)

    pd.testing.assert_frame_equal(raw, before)


def test_a_report_is_plain_json(frame: Any, waves: Any, prepared: Any) -> None:
    raw = frame(waves(20))
    raw.loc[5, "close"] = np.nan

    assert "without_price" in json.dumps(prepared(raw).report, allow_nan=False)


@st.composite
def raw_bars(draw: st.DrawFn) -> pd.DataFrame:
    """Any valid bars: 3 to 40 of them on an hourly grid, most of them neighbours."""
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 5]), min_size=2, max_size=39))
    places = np.concatenate([[0], np.cumsum(steps)])
    size = len(places)
    closes = np.array(draw(st.lists(st.floats(90, 110), min_size=size, max_size=size)))
    volume = np.array(draw(st.lists(st.floats(0, 1e6), min_size=size, max_size=size)))
    stamps = (places * 3_600_000_000_000).view("datetime64[ns]")
    return frame_of(
        stamps, {"open": closes, "high": closes * 1.01, "low": closes * 0.99, "close": closes, "volume": volume}
    )


def canonical(frame: pd.DataFrame) -> pd.DataFrame | str:
    try:
        return prepare(RawBars(frame, {}), HOURLY, Repair(), name="any", now=NOW).bars
    except BarsError as error:
        return str(error).split(":")[1][:20]


@settings(max_examples=60, deadline=None)
@given(raw_bars(), st.randoms(use_true_random=False))
def test_shuffled_and_repeated_bars_give_the_same_canonical_bars(frame: pd.DataFrame, random: Any) -> None:
    order = [*range(len(frame)), *random.choices(range(len(frame)), k=5)]
    random.shuffle(order)

    ours, theirs = canonical(frame.iloc[order].reset_index(drop=True)), canonical(frame)

    if isinstance(theirs, str):
        assert isinstance(ours, str)
    else:
        pd.testing.assert_frame_equal(ours, theirs)


@settings(max_examples=60, deadline=None)
@given(raw_bars(), st.integers(0, 4))
def test_canonical_bars_lie_on_the_grid_and_prepare_again_to_themselves(frame: pd.DataFrame, longest_fill: int) -> None:
    try:
        bars = prepare(RawBars(frame, {}), HOURLY, Repair(longest_fill=longest_fill), name="any", now=NOW).bars
    except BarsError:
        return
    observed = bars[bars["status"] == "observed"]

    assert (bars["timestamp"].diff().iloc[1:] == pd.Timedelta(hours=1)).all()
    pd.testing.assert_frame_equal(
        observed[list(COLUMNS)].reset_index(drop=True),
        frame[frame["timestamp"].isin(observed["timestamp"])].reset_index(drop=True),
    )
    runs = (bars["status"] != bars["status"].shift()).cumsum()
    lengths = bars.groupby(runs)["status"].agg(["first", "size"])
    assert (lengths.loc[lengths["first"] == "filled", "size"] <= longest_fill).all()
    assert (lengths.loc[lengths["first"] == "missing", "size"] > longest_fill).all()
