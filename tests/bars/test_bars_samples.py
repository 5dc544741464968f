from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from carrossel.bars.samples.build import check_archive, clean_bitcoin, clean_stock, read_from_tar, read_from_zip
from carrossel.bars.sources.base import open_source
from carrossel.bars.sources.sample import Sample
from carrossel.errors import SourceError

FOLDER = resources.files("carrossel.bars.samples")
TOLD = json.loads((FOLDER / "provenance.json").read_text(encoding="utf-8"))["samples"]
NAMES = ("bitcoin", "google", "apple", "ibm", "microsoft")


def bars(name: str) -> pd.DataFrame:
    return open_source(Sample.Config.model_validate({"kind": "sample", "name": name}), Path(), "1h").fetch().frame


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_the_one_that_its_provenance_describes(name: str) -> None:
    data, frame = (FOLDER / f"{name}.parquet").read_bytes(), bars(name)

    assert hashlib.sha256(data).hexdigest() == TOLD[name]["sha256"]
    assert len(frame) == TOLD[name]["rows"]
    assert frame["timestamp"].iloc[0].strftime("%Y-%m-%d %H:%M") == TOLD[name]["first"]
    assert frame["timestamp"].iloc[-1].strftime("%Y-%m-%d %H:%M") == TOLD[name]["last"]
    assert {"origin", "origin_sha256", "archive_sha256", "licence", "rights", "cleaning"} <= set(TOLD[name])


def test_all_samples_together_stay_small() -> None:
    assert sum(len((FOLDER / f"{name}.parquet").read_bytes()) for name in NAMES) < 1_200_000


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_needs_no_repair(name: str) -> None:
    frame = bars(name)

    assert frame["timestamp"].is_monotonic_increasing
    assert frame["timestamp"].is_unique
    assert np.isfinite(frame.drop(columns="timestamp")).all(axis=None)
    assert (frame["high"] >= frame[["open", "close"]].max(axis=1)).all()
    assert (frame["low"] <= frame[["open", "close"]].min(axis=1)).all()


@pytest.mark.parametrize(("name", "largest"), [("google", 0.30), ("ibm", 0.30), ("microsoft", 0.30)])
def test_adjusted_stocks_do_not_jump_at_splits(name: str, largest: float) -> None:
    assert bars(name)["close"].pct_change().abs().max() < largest


def test_the_one_large_jump_of_apple_is_its_profit_warning_and_no_split() -> None:
    changes = bars("apple").set_index("timestamp")["close"].pct_change().dropna().abs().sort_values()

    assert str(changes.index[-1].date()) == "2000-09-29"
    assert changes.iloc[-2] < 0.30


def test_bitcoin_lacks_exactly_the_five_hours_that_its_provenance_names() -> None:
    stamps = pd.DatetimeIndex(bars("bitcoin")["timestamp"])

    absent = pd.date_range(stamps[0], stamps[-1], freq="1h").difference(stamps)

    assert absent.strftime("%Y-%m-%d %H").tolist() == [
        *(f"2017-09-22 {hour}" for hour in (20, 21, 22, 23)),
        "2017-11-05 05",
    ]


HOURLY = """Timestamps are UTC timezone,https://example.org
date,symbol,open,high,low,close,volume_btc,volume
2017-11-12 09-AM,BTCUSD,6,7,6,7,9,1
2017-11-12 03-AM,BTCUSD,5,6,5,6,8,1
2017-11-12 08-AM,BTCUSD,5,6,5,6,8,1
2017-11-05 02-AM,BTCUSD,4,5,4,5,7,1
2017-11-05 01-AM,BTCUSD,3,4,3,4,6,1
2017-09-22 08-PM,BTCUSD,2,3,2,3,5,1
2017-09-22 07-PM,BTCUSD,1,2,1,2,4,1
"""
DAILY = "Created on,https://example.org\ndate,symbol,volume_btc\n" + "".join(
    f"{day.date()},BTCUSD,{volume}\n"
    for day, volume in zip(pd.date_range("2017-09-23", "2017-11-11"), [5] + [0] * 49, strict=True)
)


def test_the_hours_in_new_york_time_are_moved_to_utc_and_the_repeated_one_kept_once() -> None:
    frame, counts = clean_bitcoin(HOURLY.encode(), DAILY.encode())

    assert frame["timestamp"].dt.strftime("%m-%d %H").tolist() == [
        "09-22 19",
        "09-23 00",
        "11-05 06",
        "11-05 07",
        "11-12 08",
        "11-12 09",
    ]
    assert frame["volume"].tolist() == [4, 5, 6, 7, 8, 9]
    # 49 whole days; only 2017-09-23 has volume, and before the move it is counted a day early.
    assert counts == {"local": 4, "repeated": 1, "days": 49, "days_before": 48, "days_after": 49}


def test_a_stock_is_put_on_the_scale_of_its_adjusted_close() -> None:
    text = "Ticker,Date,Open,High,Low,Close,Volume,Adj Close\nA,2020-01-02,10,12,8,10,100,5\nB,2020-01-02,1,1,1,1,1,1\n"

    frame = clean_stock(gzip.compress(text.encode()), "A")

    assert frame.iloc[0, 1:].tolist() == [5, 6, 4, 5, 200]


def test_only_the_published_archive_is_taken(tmp_path: Path) -> None:
    (tmp_path / "other.tar.gz").write_bytes(b"something else")

    with pytest.raises(SourceError, match="expected 0123"):
        check_archive(tmp_path / "other.tar.gz", "0123")
    with pytest.raises(SourceError, match="isn't a file"):
        check_archive(tmp_path, "0123")


def test_a_member_is_read_by_its_exact_name_and_a_link_is_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("folder/data.csv")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"a,b"))
        link = tarfile.TarInfo("folder/link.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("data.csv", "a,b")

    assert read_from_tar(tmp_path / "a.tar", "folder/data.csv") == b"a,b"
    assert read_from_zip(tmp_path / "a.whl", "data.csv") == b"a,b"
    for name in ("folder/link.csv", "data.csv"):
        with pytest.raises(SourceError, match="has no file"):
            read_from_tar(tmp_path / "a.tar", name)
    with pytest.raises(SourceError, match="has no file"):
        read_from_zip(tmp_path / "a.whl", "../data.csv")
