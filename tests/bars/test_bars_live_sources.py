"""Live sources against local servers that answer as the exchanges do, and break as they do."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import exchanges
import numpy as np
import pandas as pd
import pytest
from exchanges import FAST, HTML, Reply, Server, series, utc

from carrossel.bars.schema import RAW, check
from carrossel.bars.sources.base import LiveSource, open_source, sources
from carrossel.bars.sources.web import archives
from carrossel.bars.sources.web.address import redact
from carrossel.bars.sources.web.client import Client, Http
from carrossel.config import validate
from carrossel.errors import CarrosselError, ConfigError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOURS = series("2024-01-01", "1h", 500)
START = "2024-01-01T00:00:00Z"
FIRST, LAST = utc("2024-01-01"), utc("2024-01-01") + pd.Timedelta(hours=500)
REST = ["binance", "bitstamp", "coinbase"]
LIVE = [kind for kind in sources.kinds() if issubclass(sources.load(kind), LiveSource)]
COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]


@pytest.fixture
def serve() -> Iterator[Callable[[Any], Server]]:
    servers: list[Server] = []

    def start(route: Any) -> Server:
        servers.append(Server(route))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def rest(
    kind: str, server: Server, root: Path, *, interval: str = "1h", http: dict[str, Any] | None = None
) -> LiveSource:
    config = {"kind": kind, "start": START, "base_url": server.url, "http": {**FAST, **(http or {})}}
    if kind == "binance":
        config["archive_url"] = server.url
    return make(config, root, interval)


def make(config: dict[str, Any], root: Path, interval: str = "1h") -> Any:
    return open_source(validate(config, sources.load(config["kind"]).Config, "source"), root, interval)


def routed(kind: str, bars: pd.DataFrame = HOURS) -> Any:
    return getattr(exchanges, kind)(bars)


@pytest.fixture
def open_live(
    serve: Callable[[Any], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], LiveSource]:
    """Each live kind over the same 500 hours."""

    def start(kind: str) -> LiveSource:
        if kind in REST:
            return rest(kind, serve(routed(kind)), tmp_path)
        if kind == "ccxt":
            exchanges.install_ccxt(monkeypatch, HOURS)
            return make({"kind": "ccxt", "start": START, "exchange": "kraken"}, tmp_path)
        if kind == "yahoo":
            monkeypatch.setattr(
                exchanges.install_yfinance(monkeypatch, yahoo_hours), "__version__", "1.7.0", raising=False
            )
            return make({"kind": "yahoo", "start": START, "symbol": "BTC-USD"}, tmp_path)
        if kind == "replay":
            HOURS.to_parquet(tmp_path / "hours.parquet")
            stored = {"kind": "csv", "path": "hours.parquet"}
            return make({"kind": "replay", "start": "2024-01-05T00:00:00Z", "of": stored}, tmp_path)
        raise AssertionError(f"no stand-in for {kind}: give the new source one")

    return start


def yahoo_hours(start: pd.Timestamp, end: pd.Timestamp | None, interval: str) -> pd.DataFrame:
    bars = HOURS if interval == "1h" else series("2024-01-01", "1D", 21)
    table = exchanges.yahoo_table(bars)
    table.index = pd.DatetimeIndex(bars["timestamp"])
    return table[(table.index >= start) & (table.index < (end or LAST))]


def asked(source: LiveSource, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    """What a caller keeps of the pages: each bar of the range once."""
    pages = [page for page in source.pages(start, end) if len(page)]
    for page in pages:
        check(page, RAW)
    whole = pd.concat(pages, ignore_index=True)
    kept = whole[(whole["timestamp"] >= start) & (whole["timestamp"] < end)]
    return kept.drop_duplicates("timestamp").sort_values("timestamp", ignore_index=True)


def expect(found: pd.DataFrame, bars: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, bars.reset_index(drop=True), check_dtype=True)


@pytest.mark.parametrize("kind", LIVE)
def test_every_live_source_gives_exactly_the_bars_of_a_range(open_live: Callable[[str], LiveSource], kind: str) -> None:
    source = open_live(kind)

    expect(asked(source, FIRST, LAST), HOURS)
    middle = utc("2024-01-03 07:00"), utc("2024-01-16 21:00")
    expect(asked(source, *middle), HOURS[HOURS["timestamp"].between(*middle, inclusive="left")])
    assert list(source.pages(FIRST, FIRST)) == []


@pytest.mark.parametrize("kind", LIVE)
def test_every_live_source_tells_its_provenance_and_first_bar_without_a_clock(
    open_live: Callable[[str], LiveSource], kind: str
) -> None:
    source = open_live(kind)

    assert json.loads(json.dumps(source.describe(), allow_nan=False)) == source.describe()
    assert source.describe()["kind"] == kind
    assert source.first() == FIRST


@pytest.mark.parametrize("kind", LIVE)
def test_every_live_source_refuses_unknown_keys_and_a_start_without_zone(kind: str) -> None:
    with pytest.raises(ConfigError, match="colour"):
        validate({"kind": kind, "start": START, "colour": "red"}, sources.load(kind).Config, "source")
    with pytest.raises(ConfigError, match="timezone"):
        validate({"kind": kind, "start": "2024-01-01T00:00:00"}, sources.load(kind).Config, "source")


@pytest.mark.parametrize("kind", [*REST, "yahoo"])
def test_an_interval_that_an_exchange_lacks_names_those_it_has(tmp_path: Path, kind: str) -> None:
    config = {"kind": kind, "start": START, **({"symbol": "GOOG"} if kind == "yahoo" else {})}
    with pytest.raises(ConfigError, match=r"'7min'.* 1min, .*1h.* resample"):
        make(config, tmp_path, "7min")
    assert make(config, tmp_path, "60min").code == make(config, tmp_path, "1h").code


@pytest.mark.parametrize("kind", REST)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            Reply(429, "slow down", {"Retry-After": "3600"}),
            "HTTP 429, 'slow down': too many requests, come back after 3600 s",
        ),
        (Reply(451, {"msg": "restricted location"}), "HTTP 451.*not served in this region. Take another source"),
        (Reply(403, "no"), "refuses this machine"),
        (Reply(404, {"message": "NotFound"}), "HTTP 404.*Check the source's symbol"),
        (Reply(400, {"message": "bad"}), "HTTP 400.*bad.*isn't accepted"),
        (
            Reply(302, "", {"Location": "http://me:pw@elsewhere/"}),
            r"redirects to http://\*\*\*@elsewhere/, which isn't",
        ),
        (Reply(200, HTML, {"Content-Type": "text/html"}), "an HTML page came instead of JSON, '<!DOCTYPE html>"),
        (Reply(200, HTML, {"Content-Type": "application/json"}), "an HTML page came instead of JSON"),
        (Reply(200, {"result": "maintenance"}), "not understood.*maintenance.*Check the source's symbol"),
        (Reply(200, "null"), "not understood, None came"),
        (Reply(200, [["soon", 1, 2, 3, 4, 5]]), "not understood"),
        (Reply(200, b"x" * 2000, {}), "longer than http.largest_body = 1000"),
    ],
)
def test_an_answer_that_no_retry_mends_is_one_clear_error_at_once(
    serve: Callable[[Any], Server], tmp_path: Path, kind: str, fault: Reply, message: str
) -> None:
    server = serve(routed(kind))
    server.faults.append(fault)
    source = rest(kind, server, tmp_path, http={"largest_body": 1000} if len(fault.sent) == 2000 else None)

    with pytest.raises(SourceError, match=message) as caught:
        asked(source, FIRST, FIRST + pd.Timedelta(hours=3))

    assert server.url in str(caught.value)
    assert "pw" not in str(caught.value)
    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", REST)
@pytest.mark.parametrize(
    "fault",
    [
        Reply(429, "slow down"),
        Reply(500),
        Reply(503, "", {"Retry-After": "0"}),
        Reply(200, b'{"data": [1, 2, 3, 4]}', cut=9),
        Reply(200, b"[[1704067200, 1, 2", {}),
        Reply(stall=True),
    ],
    ids=["429", "500", "503", "half a body", "half of JSON", "no answer"],
)
def test_what_may_pass_is_asked_again(serve: Callable[[Any], Server], tmp_path: Path, kind: str, fault: Reply) -> None:
    server = serve(routed(kind))
    server.faults.extend([fault, fault])
    source = rest(kind, server, tmp_path, http={"read_seconds": 0.15})

    expect(asked(source, FIRST, FIRST + pd.Timedelta(hours=3)), HOURS.iloc[:3])
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Reply(429, ""), r"HTTP 429: too many requests, come back after a while\. Lower"),
        (Reply(500, "oops"), "HTTP 500, 'oops': it fails, tried 3 times. What is stored stays"),
        (
            Reply(200, b'{"data": [1, 2, 3, 4]}', cut=9),
            r"the answer broke off .*9 bytes read, 13 more expected.*, 3 times",
        ),
        (Reply(stall=True), "no answer within 0.1 s, 3 times"),
    ],
    ids=["429", "500", "half a body", "no answer"],
)
def test_what_does_not_pass_ends_and_keeps_the_pages_before(
    serve: Callable[[Any], Server], tmp_path: Path, fault: Reply, message: str
) -> None:
    server = serve(routed("coinbase"))
    seconds = 0.1 if fault.stall else 5  # a busy machine is slow to answer, too
    pages = rest("coinbase", server, tmp_path, http={"read_seconds": seconds}).pages(FIRST, LAST)
    first = next(pages)
    server.faults.extend([fault] * 3)

    with pytest.raises(SourceError, match=message):
        next(pages)
    assert len(first) == 300
    assert len(server.asked) == 4


def test_a_retry_after_is_waited_for(
    serve: Callable[[Any], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    server = serve(routed("bitstamp"))
    server.faults.append(Reply(429, "", {"Retry-After": "7"}))

    assert len(asked(rest("bitstamp", server, tmp_path), FIRST, LAST)) == 500
    assert waits == [7]


def test_a_dead_exchange_is_named_with_what_to_do(serve: Callable[[Any], Server], tmp_path: Path) -> None:
    server = serve(routed("bitstamp"))
    source = rest("bitstamp", server, tmp_path)
    server.close()

    with pytest.raises(
        SourceError, match=rf"{server.url}/api/v2/ohlc/.* can't be reached \(.*refused.*next run asks again"
    ):
        asked(source, FIRST, LAST)


def test_an_answer_that_drips_is_ended(serve: Callable[[Any], Server]) -> None:
    server = serve(lambda *_: Reply(200, b"1" * 200_000))
    with (
        Client(Http(**{**FAST, "total_seconds": 1e-9}), 1000) as client,
        pytest.raises(SourceError, match=r"bytes came in http.total_seconds = 1e-09, too slowly"),
    ):
        client.json(server.url)


def test_requests_keep_to_the_rate(serve: Callable[[Any], Server]) -> None:
    server = serve(lambda *_: Reply(200, "1"))
    taken: list[str] = []
    with Client(Http(**{**FAST, "requests_per_second": None}), 37) as client:
        limiter = client._session.get_adapter(server.url).limiter
        acquire = limiter.try_acquire
        limiter.try_acquire = lambda name, **options: taken.append(name) or acquire(name, **options)
        client.json(server.url)
    rates = limiter.bucket_factory[taken[0]].rates

    assert taken == [server.url.removeprefix("http://")]
    assert [(rate.limit, rate.interval) for rate in rates] == [(37, 1000)]


def test_a_page_that_repeats_the_one_before_is_asked_for_once_more(
    serve: Callable[[Any], Server], tmp_path: Path
) -> None:
    answer = exchanges.coinbase(HOURS)
    old = answer(
        "/products/BTC-USD/candles",
        {"start": "2024-01-01T00:00:00Z", "end": "2024-01-13T11:00:00Z", "granularity": "3600"},
    )
    server = serve(answer)
    source = rest("coinbase", server, tmp_path)

    server.faults.extend([None, old])
    expect(asked(source, FIRST, LAST), HOURS)
    server.faults.extend([None, old, old])
    with pytest.raises(SourceError, match="the page before came again for 2024-01-13 12:00"):
        asked(source, FIRST, LAST)


@pytest.mark.parametrize("kind", REST)
def test_intervals_without_trades_are_left_out_and_the_next_ones_found(
    serve: Callable[[Any], Server], tmp_path: Path, kind: str
) -> None:
    bars = series("2024-01-01", "1h", 2500)
    traded = bars[(bars.index < 5) | (bars.index > 2400)]

    expect(asked(rest(kind, serve(routed(kind, traded)), tmp_path), FIRST, FIRST + pd.Timedelta(hours=2500)), traded)


def test_bitstamp_is_asked_for_no_more_bars_than_are_wanted(serve: Callable[[Any], Server], tmp_path: Path) -> None:
    server = serve(exchanges.bitstamp(HOURS))
    (page,) = rest("bitstamp", server, tmp_path).pages(utc("2024-01-20"), utc("2024-01-20 03:00"))

    expect(page, HOURS[HOURS["timestamp"].between(utc("2024-01-20"), utc("2024-01-20 02:00"))])
    assert server.asked[0][1]["limit"] == "3"


def test_columns_in_another_order_are_noticed(serve: Callable[[Any], Server], tmp_path: Path) -> None:
    swapped = HOURS.rename(columns={"open": "low", "low": "high", "high": "open"})
    with pytest.raises(SourceError, match="its columns seem to have another order"):
        asked(rest("coinbase", serve(exchanges.coinbase(swapped)), tmp_path), FIRST, LAST)


def test_bars_of_another_length_are_noticed(serve: Callable[[Any], Server], tmp_path: Path) -> None:
    minutes = series("2024-01-01", "1min", 500)
    with pytest.raises(SourceError, match="bars of 3600 s on their grid"):
        asked(rest("bitstamp", serve(exchanges.bitstamp(minutes)), tmp_path), FIRST, LAST)


@pytest.mark.parametrize(
    "row",
    [
        [1704067200, "nan", 1, 1, 1, 1],
        [1704067200, 1, 1, 1],
        [True, 1, 1, 1, 1, 1],
        [5, 1, 1, 1, 1, 1],
        [10**30, 1, 1, 1, 1, 1],
        7,
    ],
    ids=["NaN", "short", "bool", "1970", "far", "no list"],
)
def test_a_candle_that_is_not_understood_is_shown(serve: Callable[[Any], Server], tmp_path: Path, row: Any) -> None:
    server = serve(lambda *_: Reply(200, [[1704067200, 1, 1, 1, 1, 1], row]))
    with pytest.raises(SourceError, match="not understood"):
        asked(rest("coinbase", server, tmp_path), FIRST, LAST)


# Binance's archives

DAY = pd.Timedelta(days=1)


def minutes(start: str, days: float) -> pd.DataFrame:
    return series(start, "1min", round(days * 1440))


def test_months_and_days_come_from_archives_and_the_tail_from_rest(
    serve: Callable[[Any], Server], tmp_path: Path
) -> None:
    # 15-minute bars: a month has 2,976 of them, more than a page of 1000; a day has 96.
    bars = series("2024-12-30", "15min", 96 * 35)
    files = exchanges.binance_archives(bars, ["2025-01"], "15m")
    server = serve(exchanges.binance(bars, files))
    source = rest("binance", server, tmp_path, interval="15min")

    expect(asked(source, utc("2024-12-30"), utc("2025-02-03")), bars)

    paths = [path for path, _ in server.asked]
    assert [path.rsplit("/", 1)[-1] for path in paths] == [
        "klines",
        "BTCUSDT-15m-2025-01.zip",
        "BTCUSDT-15m-2025-01.zip.CHECKSUM",
        "klines",
    ]


def test_hours_of_whole_months_that_are_over_come_from_archives(serve: Callable[[Any], Server], tmp_path: Path) -> None:
    bars = series("2024-01-20", "1h", 24 * 80)
    server = serve(exchanges.binance(bars, exchanges.binance_archives(bars, ["2024-02"], "1h")))

    expect(asked(rest("binance", server, tmp_path), utc("2024-01-20"), utc("2024-04-04")), bars.iloc[: 24 * 75])

    assert [path.rsplit("/", 1)[-1] for path, _ in server.asked] == [
        "klines",
        "BTCUSDT-1h-2024-02.zip",
        "BTCUSDT-1h-2024-02.zip.CHECKSUM",
        "BTCUSDT-1h-2024-03.zip",  # isn't published as yet
        "klines",  # the first bar there is
        "klines",  # all of March, in one request
        "klines",
    ]


def test_milliseconds_before_2025_and_microseconds_since_are_told_apart(
    serve: Callable[[Any], Server], tmp_path: Path
) -> None:
    bars = minutes("2024-12-31", 2)
    files = exchanges.binance_archives(bars, ["2024-12-31", "2025-01-01"], "1m")
    server = serve(exchanges.binance(bars, files))

    expect(asked(rest("binance", server, tmp_path, interval="1min"), utc("2024-12-31"), utc("2025-01-02")), bars)
    assert all(path.startswith("/data/spot/daily/") for path, _ in server.asked)


def test_an_archive_that_is_not_published_is_replaced_by_shorter_ones_and_rest(
    serve: Callable[[Any], Server], tmp_path: Path
) -> None:
    bars = minutes("2024-01-30", 2)  # the market began on January 30
    server = serve(exchanges.binance(bars, exchanges.binance_archives(bars, ["2024-01-30"], "1m")))

    expect(asked(rest("binance", server, tmp_path, interval="1min"), FIRST, utc("2024-02-01")), bars)

    found = [path.rsplit("/", 1)[-1] for path, _ in server.asked]
    assert found == [
        "BTCUSDT-1m-2024-01.zip",
        "klines",  # the first bar there is: no archive is asked for before it
        "BTCUSDT-1m-2024-01-30.zip",
        "BTCUSDT-1m-2024-01-30.zip.CHECKSUM",
        "BTCUSDT-1m-2024-01-31.zip",
        "klines",
        "klines",
    ]


def test_where_rest_is_refused_the_archives_still_come(serve: Callable[[Any], Server], tmp_path: Path) -> None:
    bars = minutes("2024-01-01", 1.5)
    files = exchanges.binance_archives(bars, ["2024-01-01"], "1m")
    server = serve(exchanges.binance(bars, files, rest=Reply(451, {"code": 0})))
    pages = rest("binance", server, tmp_path, interval="1min").pages(FIRST, FIRST + 1.5 * DAY)

    expect(next(pages), bars.iloc[:1440])
    with pytest.raises(SourceError, match="HTTP 451"):
        next(pages)
    expect(
        next(iter(rest("binance", server, tmp_path, interval="1min").pages(FIRST, utc("2024-02-01")))), bars.iloc[:1440]
    )


def archive(
    serve: Callable[[Any], Server], tmp_path: Path, data: bytes | None, checksum: bytes | None = None
) -> Server:
    """A server with one day's archive, `data` in its place."""
    path = "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-01.zip"
    files = {path: data or b""}
    right = f"{hashlib.sha256(data or b'').hexdigest()}  BTCUSDT-1m-2024-01-01.zip\n".encode()
    files[f"{path}.CHECKSUM"] = right if checksum is None else checksum
    return serve(exchanges.binance(HOURS, files))


MEMBER = "BTCUSDT-1m-2024-01-01.csv"


@pytest.mark.parametrize(
    ("data", "checksum", "message"),
    [
        (
            b"PK",
            b"0" * 64 + b"  BTCUSDT-1m-2024-01-01.zip\n",
            r"sha256 is [0-9a-f]{64}, its .CHECKSUM says 0{64}, twice",
        ),
        (b"PK", b"0" * 64 + b"  other.zip\n", "expected a sha256 and BTCUSDT-1m-2024-01-01.zip"),
        (b"PK", b"", "expected a sha256"),
        (b"PK", HTML.encode(), "an HTML page came instead of a file"),
        (HTML.encode(), None, "an HTML page came instead of a file"),
        (b"PK\x03\x04 cut off", None, "isn't a whole zip file"),
        (
            exchanges.zipped("../../evil.csv", "x"),
            None,
            r"holds '../../evil.csv', expected BTCUSDT-1m-2024-01-01.csv alone",
        ),
        (exchanges.zipped(MEMBER, "soon,1,2,3,4,5,6,7,8,9,10,11\n"), None, "its CSV isn't understood"),
        (exchanges.zipped(MEMBER, "1704067200000,1,2\n"), None, "its CSV isn't understood"),
        (exchanges.zipped(MEMBER, "1704067200000,1,2,1,2,x,0,0,0,0,0,0\n"), None, "its CSV isn't understood"),
    ],
)
def test_an_archive_is_believed_only_after_it_was_checked(
    serve: Callable[[Any], Server], tmp_path: Path, data: bytes, checksum: bytes | None, message: str
) -> None:
    server = archive(serve, tmp_path, data, checksum)
    with pytest.raises(SourceError, match=message) as caught:
        asked(rest("binance", server, tmp_path, interval="1min"), FIRST, FIRST + DAY)
    assert "BTCUSDT-1m-2024-01-01.zip" in str(caught.value)


def test_an_archive_with_a_header_is_read_and_one_replaced_meanwhile_fetched_again(
    serve: Callable[[Any], Server], tmp_path: Path
) -> None:
    bars = minutes("2024-01-01", 1)
    header = "open_time,open,high,low,close,volume,close_time,a,b,c,d,e\n"
    server = archive(serve, tmp_path, exchanges.zipped(MEMBER, header + exchanges.kline_csv(bars, 1000)))
    server.faults.append(Reply(200, b"PK the archive before"))

    expect(asked(rest("binance", server, tmp_path, interval="1min"), FIRST, FIRST + DAY), bars)
    assert len(server.asked) == 4


def test_a_zip_bomb_is_not_unpacked(serve: Callable[[Any], Server]) -> None:
    data = exchanges.zipped("bomb.csv", "0" * 1_000_000)
    files = {"/bomb.zip": data, "/bomb.zip.CHECKSUM": f"{hashlib.sha256(data).hexdigest()}  bomb.zip".encode()}
    server = serve(exchanges.binance(HOURS, files))
    with Client(Http(**FAST), 1000) as client, pytest.raises(SourceError, match="unpacks to more than 1000 bytes"):
        archives.fetch_member(client, f"{server.url}/bomb.zip", largest=1000)


# Addresses


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://www.bitstamp.net", "expected an https:// URL; http:// only for 127.0.0.1"),
        ("ftp://127.0.0.1", "expected an https:// URL"),
        ("https://me:hunter2@mirror.org", "credentials don't belong into params.yaml"),
        ("https://mirror.org/?key=hunter2", "scheme, host and path alone"),
        ("https://", "expected an https:// URL"),
        ("https://mirror.org:x", "isn't a URL"),
    ],
)
def test_an_address_is_https_without_credentials_or_a_local_one(url: str, message: str) -> None:
    from carrossel.bars.config import Dataset

    source = {"kind": "bitstamp", "start": START, "base_url": url}
    with pytest.raises(ConfigError, match=message) as caught:
        validate({"source": source, "interval": "1h"}, Dataset, "datasets.bitcoin")
    assert "me:hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:hunter2@host/a?b=1", "https://***@host/a?b=1"),
        ("/a?api_key=hunter2&b=1", "/a?api_key=***&b=1"),
        ('{"token": "hunter2", "b": 1}', '{"token": "***", "b": 1}'),
        ("Authorization: Bearer hunter2", "Authorization: Bearer ***"),
        ("signature=ab12 x", "signature=*** x"),
        ("no secret here", "no secret here"),
    ],
)
def test_secrets_are_taken_out_of_messages(text: str, shown: str) -> None:
    assert redact(text) == shown


# Libraries


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"kind": "ccxt", "start": START, "exchange": "kraken"}, r"pip install 'carrossel\[ccxt\]'"),
        ({"kind": "yahoo", "start": START, "symbol": "GOOG"}, r"pip install 'carrossel\[yahoo\]'"),
        ({"kind": "kaggle"}, r"pip install 'carrossel\[kaggle\]'"),
    ],
)
def test_a_missing_library_names_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], line: str
) -> None:
    for module in ("ccxt", "yfinance", "kagglehub"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(SourceError, match=line):
        make(config, tmp_path).fetch()


def kraken(tmp_path: Path, **config: Any) -> LiveSource:
    config = {"kind": "ccxt", "start": START, "exchange": "kraken", "backoff_seconds": 0, **config}
    return make(config, tmp_path, config.pop("interval", "1h"))


def test_ccxt_asks_again_what_may_pass_and_no_more_than_retries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ccxt = exchanges.install_ccxt(monkeypatch, HOURS)
    ccxt.faults.extend([ccxt.NetworkError("later")] * 2)
    expect(asked(kraken(tmp_path), FIRST, LAST), HOURS)

    ccxt.faults.extend([ccxt.NetworkError("https://x/?apiKey=hunter2 failed")] * 5)
    with pytest.raises(
        SourceError, match=r"kraken \(ccxt\), BTC/USD: bars from 2024-01-01.* in 5 tries .*apiKey=\*\*\*"
    ):
        asked(kraken(tmp_path), FIRST, LAST)
    assert not ccxt.faults


def test_ccxt_passes_over_spans_without_trades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = HOURS[(HOURS.index < 5) | (HOURS.index > 400)]
    exchanges.install_ccxt(monkeypatch, bars, most=3)
    expect(asked(kraken(tmp_path, page=7), FIRST, LAST + pd.Timedelta(hours=50)), bars)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"exchange": "mtgox"}, ConfigError, "'mtgox': ccxt 4.5.0 doesn't know it"),
        ({"interval": "2h"}, ConfigError, r"'2h': source ccxt \(kraken\) has bars of 1min, 1h, 1d"),
        ({}, SourceError, "refused .*no such market.* Check exchange, symbol"),
    ],
)
def test_ccxt_refuses_clearly(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    error: type[CarrosselError],
    message: str,
) -> None:
    ccxt = exchanges.install_ccxt(monkeypatch, HOURS)
    ccxt.faults.append(ccxt.BadSymbol("no such market"))
    with pytest.raises(error, match=message):
        asked(kraken(tmp_path, **config), FIRST, LAST)


def yahoo(tmp_path: Path, interval: str = "1d", **config: Any) -> LiveSource:
    return make({"kind": "yahoo", "start": START, "symbol": "GOOG", **config}, tmp_path, interval)


def test_yahoo_counts_splits_from_the_start_so_that_stored_bars_stay_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traded = series("2024-01-02", "1D", 6)
    traded.loc[3:, ["open", "high", "low", "close"]] /= 4
    traded.loc[3:, "volume"] *= 4
    today = 3  # the day before the split

    def answer(start: pd.Timestamp, end: pd.Timestamp | None, interval: str) -> pd.DataFrame:
        return exchanges.yahoo_table(traded.iloc[:today], {"2024-01-05": 4.0})

    exchanges.install_yfinance(monkeypatch, answer)
    before = asked(yahoo(tmp_path), FIRST, LAST)
    today = 6
    after = asked(yahoo(tmp_path), FIRST, LAST)

    pd.testing.assert_frame_equal(after.iloc[:3], before)
    # In shares of January 2: what was quoted before the split, and afterwards four times the quote.
    np.testing.assert_allclose(after["close"], [101, 102, 103, 104, 105, 106], rtol=1e-6)
    np.testing.assert_allclose(after["volume"], [1, 2, 3, 4, 5, 6], rtol=1e-6)
    assert before["timestamp"].tolist() == [utc("2024-01-02"), utc("2024-01-03"), utc("2024-01-04")]


def test_yahoo_reinvests_dividends_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = 4
    paid = {"2024-01-04": 10.2}  # a tenth of the close before

    def answer(start: pd.Timestamp, end: pd.Timestamp | None, interval: str) -> pd.DataFrame:
        return exchanges.yahoo_table(series("2024-01-02", "1D", days), dividends=paid)

    exchanges.install_yfinance(monkeypatch, answer)
    days = 2
    before = asked(yahoo(tmp_path, adjusted=True), FIRST, LAST)
    days = 4
    after = asked(yahoo(tmp_path, adjusted=True), FIRST, LAST)

    pd.testing.assert_frame_equal(after.iloc[:2], before)
    # Worked by hand: 103 / 0.9 = 114.4444, 104 / 0.9 = 115.5556; rounded to seven digits.
    np.testing.assert_allclose(after["close"], [101, 102, 114.4444, 115.5556], rtol=1e-6)


def test_yahoo_asks_for_minutes_in_pieces_and_takes_a_night_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = series("2024-01-02 14:30", "1min", 390)

    def answer(start: pd.Timestamp, end: pd.Timestamp | None, interval: str) -> pd.DataFrame:
        if interval == "1d":
            return exchanges.yahoo_table(series("2024-01-02", "1D", 3))
        assert end is not None
        assert end - start <= pd.Timedelta(days=7)
        if start >= utc("2024-01-08"):
            raise yfinance.YFPricesMissingError("$GOOG: no price data found (1m ...)")
        table = exchanges.yahoo_table(bars)
        table.index = pd.DatetimeIndex(bars["timestamp"]).tz_convert("America/New_York")
        return table

    yfinance = exchanges.install_yfinance(monkeypatch, answer)

    expect(asked(yahoo(tmp_path, "1min"), FIRST, utc("2024-01-12")), bars)
    assert [interval for interval, _, _ in yfinance.asked] == ["1d", "1m", "1m"]


@pytest.mark.parametrize(
    ("name", "said", "interval", "message"),
    [
        ("YFRateLimitError", "Too Many Requests.", "1d", "come in waves: wait an hour"),
        ("YFPricesMissingError", "$GOOG: possibly delisted; no price data found", "1d", "Check symbol and start"),
        (
            "YFPricesMissingError",
            "$GOOG: 1m data not available: last 30 days",
            "1min",
            "not available.*1min for 30 days",
        ),
        (
            "YFPricesMissingError",
            (
                '$GOOG: possibly delisted; no price data found  (1m 2017-01-01 -> 2017-01-08) (Yahoo error = "1m data not '
                'available for startTime=1483228800 and endTime=1483833600. The requested range must be within the last 30 days.")'
            ),
            "1min",
            "must be within the last 30 days.*1min for 30 days",
        ),
    ],
)
def test_yahoo_says_what_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str, interval: str, message: str
) -> None:
    def answer(start: pd.Timestamp, end: pd.Timestamp | None, code: str) -> pd.DataFrame:
        if interval == "1min" and code == "1d":
            return exchanges.yahoo_table(series("2024-01-02", "1D", 3))
        raise getattr(yfinance, name)(said)

    yfinance = exchanges.install_yfinance(monkeypatch, answer)
    with pytest.raises(SourceError, match=rf"finance.yahoo.com, GOOG: .*{message}"):
        asked(yahoo(tmp_path, interval), FIRST, LAST)


@pytest.mark.parametrize(
    ("interval", "expected"), [("1min", "2024-05-03"), ("30min", "2024-04-03"), ("1h", "2022-06-03"), ("1d", None)]
)
def test_yahoo_says_how_far_back_it_reaches(tmp_path: Path, interval: str, expected: str | None) -> None:
    found = yahoo(tmp_path, interval).reach(utc("2024-06-01 12:00"))
    assert found == (None if expected is None else utc(expected))


def test_yahoo_refuses_what_it_cannot_read_and_what_yahoo_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchanges.install_yfinance(monkeypatch, lambda *_: pd.DataFrame({"Price": [1.0]}))
    with pytest.raises(SourceError, match=r"not understood, .*'Price'"):
        asked(yahoo(tmp_path), FIRST, LAST)
    with pytest.raises(ConfigError, match="daily bars alone"):
        yahoo(tmp_path, "1h", adjusted=True)


NEW = "Timestamp,Open,High,Low,Close,Volume\n1325412060.0,4.58,4.6,4.5,4.58,0.0\n1325412120.0,4.58,4.58,4.58,4.58,1.5\n"
OLD = (
    "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price\n"
    "1325412060,4.58,4.6,4.5,4.58,0.0,0.0,4.58\n1325412120,NaN,NaN,NaN,NaN,NaN,NaN,NaN\n"
)


@pytest.mark.parametrize("text", [NEW, OLD], ids=["new", "old"])
def test_kaggle_reads_both_layouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    folder = tmp_path / "datasets/mczielinski/bitcoin-historical-data/versions/407"
    folder.mkdir(parents=True)
    (folder / "btcusd_1-min_data.csv").write_text(text)
    kagglehub = exchanges.install_kagglehub(monkeypatch, folder)

    raw = make({"kind": "kaggle"}, tmp_path, "1min").fetch()

    check(raw.frame, RAW)
    assert raw.frame.iloc[0].tolist() == [utc("2012-01-01 10:01"), 4.58, 4.6, 4.5, 4.58, 0.0]
    assert len(raw.frame) == 2
    assert (raw.provenance["kind"], raw.provenance["version"]) == ("kaggle", 407)
    assert str(tmp_path) not in json.dumps(raw.provenance)
    assert not any("DVC" in note for note in raw.notes)
    assert kagglehub.asked == [("mczielinski/bitcoin-historical-data", "btcusd_1-min_data.csv")]


def test_kaggle_says_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exchanges.install_kagglehub(monkeypatch, RuntimeError("403 for https://me:hunter2@www.kaggle.com"))
    with pytest.raises(SourceError, match=r"kaggle.com/datasets/mczielinski/.* didn't come .*\*\*\*@.*authenticate"):
        make({"kind": "kaggle"}, tmp_path).fetch()


@pytest.mark.parametrize("file", ["../../etc/passwd", "/etc/passwd", "a/../b.csv", ""])
def test_kaggle_takes_files_of_the_data_set_alone(tmp_path: Path, file: str) -> None:
    with pytest.raises(ConfigError, match=r"source\.file"):
        make({"kind": "kaggle", "file": file}, tmp_path)


# Replay

HOUR = pd.Timedelta(hours=1)
NOW = utc("2030-01-01")


def replay(tmp_path: Path, start: str, interval: str = "1h", bars: pd.DataFrame = HOURS, **config: Any) -> LiveSource:
    name = f"{hashlib.sha256(pd.util.hash_pandas_object(bars).to_numpy().tobytes()).hexdigest()[:8]}.parquet"
    bars.to_parquet(tmp_path / name)
    return make({"kind": "replay", "start": start, "of": {"kind": "csv", "path": name}, **config}, tmp_path, interval)


def test_a_replay_begins_with_its_history_and_then_gives_one_bar_a_look(tmp_path: Path) -> None:
    source = replay(tmp_path, "2024-01-02T00:00:00Z")
    stored = pd.DataFrame(columns=COLUMNS)
    sizes = []
    for _ in range(4):
        last = stored["timestamp"].max() if len(stored) else None
        present = source.present(NOW, last, HOUR)
        assert source.present(NOW, last, HOUR) == present
        begin = source.first() if last is None else last + HOUR
        closed = asked(source, begin, present)
        stored = closed if last is None else pd.concat([stored, closed], ignore_index=True)
        sizes.append(len(stored))

    assert sizes == [24, 25, 26, 27]
    expect(stored, HOURS.iloc[:27])


def test_a_replay_of_minutes_waits_for_whole_hours_and_jumps_over_gaps(tmp_path: Path) -> None:
    bars = series("2024-01-01", "1min", 600)
    source = replay(tmp_path, "2024-01-01T01:00:00Z", "1min", bars[(bars.index < 120) | (bars.index >= 330)])

    assert source.present(NOW, utc("2024-01-01 00:59"), HOUR) == utc("2024-01-01 02:00")
    assert source.present(NOW, utc("2024-01-01 01:30"), HOUR) == utc("2024-01-01 02:00")
    assert source.present(NOW, utc("2024-01-01 01:59"), HOUR) == utc("2024-01-01 06:00")
    assert source.present(NOW, utc("2024-01-01 09:59"), HOUR) == utc("2024-01-01 10:00"), "the end stays the end"


def test_a_replay_without_history_begins_with_its_first_bar(tmp_path: Path) -> None:
    assert replay(tmp_path, START).present(NOW, None, HOUR) == FIRST + HOUR


def test_a_replay_with_speed_goes_on_after_a_restart(tmp_path: Path) -> None:
    begin = utc("2024-01-02")
    looks = []
    for seconds in (0, 2, 5, 1, 10**6):
        source = replay(tmp_path, "2024-01-02T00:00:00Z", speed=3600)
        looks.append(source.present(NOW + pd.Timedelta(seconds=seconds), None, HOUR))

    assert looks[:4] == [begin, begin + 2 * HOUR, begin + 5 * HOUR, begin + HOUR]
    assert looks[4] == LAST + HOUR, "no further than the series"
    assert source.present(NOW - HOUR, None, HOUR) == begin, "a clock that was set back"


def test_a_damaged_anchor_is_named(tmp_path: Path) -> None:
    source = replay(tmp_path, "2024-01-02T00:00:00Z", speed=1)
    source.present(NOW, None, HOUR)
    (anchor,) = (tmp_path / ".carrossel/replay").glob("*.json")
    anchor.write_text("{")

    with pytest.raises(SourceError, match=rf"{anchor.name} isn't as it was written .*Delete it"):
        source.present(NOW, None, HOUR)


def test_a_replay_sorts_and_leaves_out_rows_without_a_price(tmp_path: Path) -> None:
    empty = HOURS.copy()
    empty.loc[5:9, ["open", "high", "low", "close"]] = np.nan
    source = replay(tmp_path, START, bars=empty.iloc[::-1])

    expect(asked(source, FIRST, LAST), HOURS.drop(index=range(5, 10)))


def test_only_stored_series_are_replayed(tmp_path: Path) -> None:
    config = {"kind": "replay", "start": START, "of": {"kind": "bitstamp", "start": START}}
    with pytest.raises(ConfigError, match="bitstamp is live; expected a stored series"):
        make(config, tmp_path)
    with pytest.raises(ConfigError, match="replay is live"):
        make({**config, "of": config}, tmp_path)
