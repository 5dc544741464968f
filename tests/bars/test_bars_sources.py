"""Every kind of source holds the same contract; each oddity of real files is reproduced by a few literal lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carrossel.bars.schema import RAW, check
from carrossel.bars.sources.base import LiveSource, RawBars, open_source, sources
from carrossel.bars.sources.synthetic import Synthetic, integrate_mackey_glass
from carrossel.config import validate
from carrossel.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = "Timestamp,Open,High,Low,Close,Volume\n"
CONFIGS: dict[str, list[dict[str, Any]]] = {
    "csv": [{"path": "bars.csv"}],
    "sample": [{"name": name} for name in ("bitcoin", "google", "apple", "ibm", "microsoft")],
    "synthetic": [{"process": name, "length": 200} for name in ("random_walk", "sine", "mackey_glass")],
}
# The others ask over the network: test_bars_live_sources.py.
STORED = [kind for kind in sources.kinds() if kind != "kaggle" and not issubclass(sources.load(kind), LiveSource)]
CASES = [(kind, config) for kind in STORED for config in CONFIGS[kind]]


def fetch(root: Path, **config: Any) -> RawBars:
    return open_source(sources.load(config["kind"]).Config(**config), root, "1h").fetch()


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., RawBars]:
    def run(text: str | bytes, name: str = "data/incoming/bars.csv", **settings: Any) -> RawBars:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return fetch(tmp_path, kind="csv", path=name, **settings)

    return run


def rows(raw: RawBars) -> list[list[Any]]:
    stamps = raw.frame["timestamp"].dt.strftime("%Y-%m-%d %H:%M").tolist()
    return [[stamp, *values] for stamp, values in zip(stamps, raw.frame.iloc[:, 1:].to_numpy().tolist(), strict=True)]


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_every_source_delivers_the_contract_and_the_same_bars_twice(
    tmp_path: Path, kind: str, config: dict[str, Any]
) -> None:
    (tmp_path / "bars.csv").write_text(HEADER + "1500000000,1,2,1,2,5\n1500003600,2,3,2,3,\n")

    first, second = (fetch(tmp_path, kind=kind, **config) for _ in range(2))

    check(first.frame, RAW)
    pd.testing.assert_frame_equal(first.frame, second.frame)
    assert json.dumps(first.provenance, sort_keys=True, allow_nan=False) == json.dumps(
        second.provenance, sort_keys=True
    )
    assert first.provenance["kind"] == kind


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_every_source_refuses_unknown_keys(kind: str, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="colour"):
        validate({"kind": kind, **config, "colour": "red"}, sources.load(kind).Config, "source")


def test_kaggle_bitcoin_in_the_old_schema_keeps_its_empty_minutes(read: Callable[..., RawBars]) -> None:
    raw = read(
        "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price\n"
        "1325317920,4.39,4.39,4.39,4.39,0.45558087,2.0000000193,4.39\n"
        "1325317980,NaN,NaN,NaN,NaN,NaN,NaN,NaN\n"
    )

    assert rows(raw)[0] == ["2011-12-31 07:52", 4.39, 4.39, 4.39, 4.39, 0.45558087]
    assert np.isnan(rows(raw)[1][1:]).all()


def test_kaggle_bitcoin_in_the_new_schema_has_float_times(read: Callable[..., RawBars]) -> None:
    raw = read(HEADER + "1325412060.0,4.58,4.58,4.58,4.58,0.0\n1325412120.0,4.58,4.58,4.58,4.58,1.5\n")

    assert [row[0] for row in rows(raw)] == ["2012-01-01 10:01", "2012-01-01 10:02"]


def test_a_banner_and_the_order_of_the_file_are_kept(read: Callable[..., RawBars]) -> None:
    raw = read(
        "Timestamps are UTC timezone,https://www.CryptoDataDownload.com\n"
        "date,symbol,open,high,low,close,volume_btc,volume\n"
        "2019-10-17 09-AM,BTCUSD,8051,8056.83,8021.23,8035.88,61.25,492394.56\n"
        "2019-10-17 08-AM,BTCUSD,7975.89,8070,7975.89,8051,370.45,2971610.86\n"
    )

    assert rows(raw) == [
        ["2019-10-17 09:00", 8051, 8056.83, 8021.23, 8035.88, 61.25],
        ["2019-10-17 08:00", 7975.89, 8070, 7975.89, 8051, 370.45],
    ]
    assert raw.provenance["banner"] == ["Timestamps are UTC timezone,https://www.CryptoDataDownload.com"]


def test_thousands_in_quotes_are_numbers(read: Callable[..., RawBars]) -> None:
    raw = read(
        "Date,Open,High,Low,Close,Volume\n"
        '1/3/2017,778.81,789.63,775.8,786.14,"1,657,300"\n'
        '1/30/2017,814.66,"1,815.84",799.8,802.32,"3,246,600"\n'
    )

    assert rows(raw)[1] == ["2017-01-30 00:00", 814.66, 1815.84, 799.8, 802.32, 3246600]


def test_one_price_column_makes_flat_bars_without_volume(read: Callable[..., RawBars]) -> None:
    raw = read("DateTime,Close\n2015-01-05,280.5\n2015-01-06,\n")

    assert rows(raw)[0][:5] == ["2015-01-05 00:00", 280.5, 280.5, 280.5, 280.5]
    assert np.isnan(raw.frame["volume"]).all()
    assert np.isnan(raw.frame["close"].iloc[1])


def test_the_adjusted_close_scales_prices_and_divides_volume(read: Callable[..., RawBars]) -> None:
    text = "Date,Open,High,Low,Close,Adj Close,Volume\n2020-01-02,10,12,8,10,5,100\n2020-01-03,10,12,8,10,10,100\n"

    assert rows(read(text, adjusted=True))[0] == ["2020-01-02 00:00", 5, 6, 4, 5, 200]
    assert rows(read(text))[0] == ["2020-01-02 00:00", 10, 12, 8, 10, 100]


def test_semicolons_decimal_commas_and_a_byte_order_mark_are_read(read: Callable[..., RawBars]) -> None:
    text = "\ufeffDatum;Kurs\n17.10.2019;1.234,5\n18.10.2019;1.235,25\n"

    raw = read(text, columns={"timestamp": "Datum", "close": "Kurs"}, decimal=",")

    assert [row[4] for row in rows(raw)] == [1234.5, 1235.25]


def test_parquet_and_compressed_csv_are_read_alike(read: Callable[..., RawBars], tmp_path: Path) -> None:
    text = HEADER + "1500000000,1,2,1,2,5\n1500003600,2,3,2,3,6\n"
    table = pa.table({"Timestamp": [1500000000, 1500003600], "Open": [1.0, 2], "High": [2.0, 3], "Low": [1.0, 2]})
    table = table.append_column("Close", [[2.0, 3]]).append_column("Volume", [[5.0, 6]])
    pq.write_table(table, tmp_path / "bars.parquet")

    plain, packed = read(text), read(gzip.compress(text.encode()), "bars.csv.gz")

    pd.testing.assert_frame_equal(plain.frame, packed.frame)
    pd.testing.assert_frame_equal(plain.frame, fetch(tmp_path, kind="csv", path="bars.parquet").frame)


def test_a_column_that_changes_its_type_after_the_first_rows_is_read(read: Callable[..., RawBars]) -> None:
    many = "".join(f"{1500000000 + 60 * i},1,2,1,2,{i}\n" for i in range(5000))

    raw = read(HEADER + many + '1500300000,1,2,1,2,"1,657,300"\n')

    assert len(raw.frame) == 5001
    assert raw.frame["volume"].iloc[-1] == 1657300


def test_a_file_cut_off_in_a_row_is_refused(read: Callable[..., RawBars]) -> None:
    good = "".join(f"{1500000000 + 60 * i},1,2,1,2,5\n" for i in range(3))
    with pytest.raises(SourceError, match="the last line '15000001' has 1 of 6 cells: the file was cut off"):
        read(HEADER + good + "15000001")


def test_a_last_line_without_a_line_feed_is_a_row(read: Callable[..., RawBars]) -> None:
    assert len(read(HEADER + "1500000000,1,2,1,2,5\n1500000060,1,2,1,2,5").frame) == 2


def test_a_row_without_readable_time_is_left_out_and_told(read: Callable[..., RawBars]) -> None:
    good = "".join(f"2020-01-0{i} 00:00,1,2,1,2,5\n" for i in range(1, 4))

    raw = read(HEADER + good + "total,1,2,1,2,5\n")

    assert len(raw.frame) == 3
    assert raw.provenance["unreadable_times"] == {"count": 1, "first": [3]}


def test_a_file_outside_of_the_watched_folder_is_told(read: Callable[..., RawBars]) -> None:
    text = HEADER + "1500000000,1,2,1,2,5\n"

    assert not any("DVC can't see" in note for note in read(text).notes)
    assert any(
        "elsewhere.csv lies outside of data/incoming: DVC can't see" in n for n in read(text, "elsewhere.csv").notes
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (HEADER, "no row below the header"),
        (HEADER + "1500000000\n", "no row has as many cells as the header"),
        ("hello\nworld\n", "no header with a time and a price"),
        ("PK\x03\x04junk", "Unzip it"),
        ("a\0b", "neither text nor Parquet"),
        (b"PAR1 cut off", "may be truncated"),
        (HEADER + "soon,1,2,1,2,5\nlater,1,2,1,2,5\n", "no readable time"),
        (HEADER + "1500000000,a,2,1,2,5\n1500003600,b,2,1,2,5\n", "column 'Open' has 2 cells that aren't numbers"),
        (HEADER + "1500000000\n1500003600\n1500007200,1,2,1,2,5\n", "2 of 3 rows have another number of cells"),
        (HEADER + "2020-01-01,1,2,1,2,5\nx,1,2,1,2,5\ny,1,2,1,2,5\n", "have no readable time, the first"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_by_name(
    read: Callable[..., RawBars], text: str | bytes, message: str
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        read(text)
    assert "bars.csv" in str(caught.value)


def test_a_truncated_parquet_file_is_refused(read: Callable[..., RawBars], tmp_path: Path) -> None:
    pq.write_table(pa.table({"Timestamp": [1500000000], "Close": [1.0]}), tmp_path / "whole.parquet")

    with pytest.raises(SourceError, match="may be truncated"):
        read((tmp_path / "whole.parquet").read_bytes()[:-20], "cut.parquet")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere.csv can't be read: No such file"):
        fetch(tmp_path, kind="csv", path="nowhere.csv")


def test_adjusted_prices_need_an_adjusted_column(read: Callable[..., RawBars]) -> None:
    with pytest.raises(SourceError, match="no column looks like an adjusted close"):
        read(HEADER + "1500000000,1,2,1,2,5\n", adjusted=True)


def synthetic(**settings: Any) -> pd.DataFrame:
    return fetch(Path(), kind="synthetic", **settings).frame


def test_a_random_walk_has_the_volatility_and_drift_that_were_asked_for() -> None:
    closes = synthetic(process="random_walk", length=10_000, volatility=0.02, drift=0.001)["close"]

    returns = np.diff(np.log(closes))
    # Four standard errors: 0.02/√10000 = 0.0002 for the mean, 0.02/√20000 = 0.00014 for the standard deviation.
    assert returns.mean() == pytest.approx(0.001, abs=0.0008)
    assert returns.std() == pytest.approx(0.02, abs=0.0006)


def test_another_seed_gives_another_walk() -> None:
    one, two = (synthetic(process="random_walk", length=50, seed=seed) for seed in (1, 2))

    assert not np.allclose(one["close"], two["close"])


def test_a_sine_swings_around_its_level() -> None:
    closes = synthetic(process="sine", length=8, period=4, level=10, amplitude=0.5)["close"].to_numpy()

    # sin at quarter turns: 1, 0, −1, 0; its float64 error is below 1e-15.
    np.testing.assert_allclose(closes, [15, 10, 5, 10, 15, 10, 5, 10], atol=1e-13)


def test_mackey_glass_rests_at_its_fixed_point() -> None:
    # 0.2·1/(1+1) − 0.1·1 = 0
    np.testing.assert_allclose(integrate_mackey_glass(1.0, 50, steps_per_unit=10), 1.0, rtol=1e-13)


def test_mackey_glass_follows_the_closed_form_while_the_delay_sees_constant_history() -> None:
    x = integrate_mackey_glass(1.2, 17, steps_per_unit=10)

    inflow = 0.2 * 1.2 / (1 + 1.2**10)
    t = np.arange(171) / 10
    # dx/dt = c − 0.1 x has x = 10c + (1.2 − 10c)·e^(−0.1t); Runge-Kutta's error at step 0.1 is (0.01)⁵ per step.
    np.testing.assert_allclose(x, 10 * inflow + (1.2 - 10 * inflow) * np.exp(-0.1 * t), rtol=1e-9)


def test_mackey_glass_stays_on_its_attractor() -> None:
    closes = synthetic(process="mackey_glass", length=2000, level=1)["close"]

    # The attractor at τ = 17 lies within 0.2 … 1.4 (Mackey & Glass 1977, fig. 2b).
    assert 0.2 < closes.min() < 0.6
    assert 1.2 < closes.max() < 1.4


@pytest.mark.parametrize("process", ["random_walk", "sine", "mackey_glass"])
def test_synthetic_bars_start_where_they_should_and_hang_together(process: str) -> None:
    bars = synthetic(process=process, length=100, start="2021-03-01T00:00:00", interval="15min", volatility=0.05)

    assert bars["timestamp"].iloc[[0, 1]].tolist() == [
        pd.Timestamp("2021-03-01 00:00", tz="UTC"),
        pd.Timestamp("2021-03-01 00:15", tz="UTC"),
    ]
    assert (bars["open"].to_numpy()[1:] == bars["close"].to_numpy()[:-1]).all()
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    assert (bars.drop(columns="timestamp") > 0).to_numpy().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 50_000_000, "interval": "1d"}, "leave the years"),
        ({"drift": 1, "length": 5000}, "float64 can't hold"),
    ],
)
def test_a_series_that_cannot_be_represented_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate({"kind": "synthetic", "process": "random_walk", **settings}, Synthetic.Config, "source")
