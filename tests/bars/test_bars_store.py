from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carrossel.bars.schema import CANONICAL, RAW, check
from carrossel.bars.sources.base import RawBars
from carrossel.bars.store import read_bars, read_raw, write_bars, write_raw, write_raw_partitions
from carrossel.errors import BarsError

if TYPE_CHECKING:
    from pathlib import Path


def test_raw_bars_come_back_with_order_duplicates_nan_and_provenance(frame: Any, tmp_path: Path) -> None:
    bars = frame([3, 1, 2, 2]).iloc[[2, 0, 1, 1, 3]].reset_index(drop=True)
    bars.loc[1, "close"] = np.nan
    provenance = {"kind": "test", "title": "São Paulo", "rows": 5}

    write_raw(tmp_path, RawBars(bars, provenance))
    back = read_raw(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["bars.parquet"]

    pd.testing.assert_frame_equal(back.frame, bars)
    assert back.provenance == provenance


def test_raw_partitions_come_back_as_one_series_in_order_of_their_names(frame: Any, tmp_path: Path) -> None:
    bars = frame([1, 2, np.nan, 4, 5])
    parts = [("2020-02", bars.iloc[3:]), ("2020-01", bars.iloc[:3])]

    rows = write_raw_partitions(tmp_path, parts, {"kind": "test"}, tmp_path / "none")
    back = read_raw(tmp_path)

    assert rows == 5
    pd.testing.assert_frame_equal(back.frame, bars)
    assert back.provenance == {"kind": "test"}


def test_raw_partitions_that_say_the_same_stay_the_same_files(frame: Any, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    bars = frame([1, 2, 3, 4])
    for folder, last in ((old, 3), (new, 4)):
        folder.mkdir()
        parts = [("2020-01", bars.iloc[:2]), ("2020-02", bars.iloc[2:last])]
        write_raw_partitions(folder, parts, {"kind": "test"}, old)

    assert (new / "2020-01.parquet").samefile(old / "2020-01.parquet")
    assert not (new / "2020-02.parquet").samefile(old / "2020-02.parquet")
    pd.testing.assert_frame_equal(read_raw(old).frame, bars.iloc[:3])
    pd.testing.assert_frame_equal(read_raw(new).frame, bars)


def test_a_truncated_raw_partition_is_refused(frame: Any, tmp_path: Path) -> None:
    bars = frame([1, 2, 3, 4])
    parts = [("2020-01", bars.iloc[:2]), ("2020-02", bars.iloc[2:])]
    write_raw_partitions(tmp_path, parts, {"kind": "test"}, tmp_path)
    path = tmp_path / "2020-01.parquet"
    path.write_bytes(path.read_bytes()[:-30])

    with pytest.raises(BarsError, match=r"2020-01.parquet isn't a whole Parquet file"):
        read_raw(tmp_path)


def test_canonical_bars_come_back(frame: Any, waves: Any, prepared: Any, tmp_path: Path) -> None:
    bars = prepared(frame(waves(30)).drop(index=[3, 10, 11, 12])).bars

    write_bars(tmp_path / "bars.parquet", bars)
    back = read_bars(tmp_path / "bars.parquet")

    pd.testing.assert_frame_equal(back, bars)
    check(back, CANONICAL)


def test_the_same_bars_give_the_same_bytes(frame: Any, waves: Any, prepared: Any, tmp_path: Path) -> None:
    bars = prepared(frame(waves(30))).bars
    for name in ("one", "two"):
        write_bars(tmp_path / name, bars.copy())

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_truncated_file_is_refused(frame: Any, waves: Any, prepared: Any, tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    write_bars(path, prepared(frame(waves(30))).bars)
    path.write_bytes(path.read_bytes()[:-30])

    with pytest.raises(BarsError, match=r"bars.parquet isn't a whole Parquet file.*Delete it and run dvc repro"):
        read_bars(path)


def test_damaged_contents_are_refused(frame: Any, waves: Any, prepared: Any, tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    write_bars(path, prepared(frame(waves(30))).bars)
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(data)

    with pytest.raises(BarsError, match="isn't a whole Parquet file"):
        read_bars(path)


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(BarsError, match=r"doesn't exist. Run the stage that writes it"):
        read_bars(tmp_path / "bars.parquet")
    with pytest.raises(BarsError, match=r"holds no bars. Run the stage that writes it"):
        read_raw(tmp_path / "raw")


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "bars.parquet")

    with pytest.raises(BarsError, match="has columns a; expected timestamp, open, high, low, close, volume, status"):
        read_bars(tmp_path / "bars.parquet")


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("close", 2, -1.0, "prices are above zero"),
        ("close", 2, np.nan, "prices are there exactly where status isn't missing"),
        ("status", 2, "missing", "prices are there exactly where status isn't missing"),
        ("status", 2, "guessed", "status is one of observed, filled, missing"),
        ("close", 2, 1e6, "open and close lie in low"),
        ("volume", 2, -1.0, "volumes not below"),
        ("timestamp", 2, pd.Timestamp("2020-01-01", tz="UTC"), "timestamps strictly increase"),
    ],
)
def test_the_contract_of_canonical_bars_is_held(
    frame: Any, waves: Any, prepared: Any, column: str, row: int, value: Any, message: str
) -> None:
    bars = prepared(frame(waves(10))).bars
    bars.loc[row, column] = value

    with pytest.raises(BarsError, match=f"canonical bars break their contract.*{message}"):
        check(bars, CANONICAL)


def test_the_contract_of_raw_bars_asks_for_utc_nanoseconds(frame: Any) -> None:
    bars = frame([1, 2, 3])
    bars["timestamp"] = bars["timestamp"].dt.tz_localize(None)

    with pytest.raises(BarsError, match="raw bars break their contract"):
        check(bars, RAW)
