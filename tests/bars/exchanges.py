"""Local servers that answer as the exchanges do, and libraries that ask them, with their faults."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import threading
import zipfile
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest

# Short waits; a rate limit of 1000 a second is none.
FAST = {"requests_per_second": 1000, "retries": 2, "backoff_seconds": 0, "read_seconds": 5}
HTML = "<!DOCTYPE html><html><title>Just a moment...</title></html>"


def utc(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


def series(start: str, step: str, size: int) -> pd.DataFrame:
    """Bars in which each column is told apart: open i + 100, high + 3, low − 3, close + 1, volume i + 1."""
    i = np.arange(size, dtype=float)
    stamps = pd.date_range(start, periods=size, freq=step, tz="UTC").as_unit("ns")
    return pd.DataFrame(
        {"timestamp": stamps, "open": 100 + i, "high": 103 + i, "low": 97 + i, "close": 101 + i, "volume": i + 1}
    )


@dataclass
class Reply:
    """What a server sends.

    Attributes:
        cut: bytes of the body after which the connection breaks.
        stall: whether nothing comes at all.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: bool = False

    @property
    def sent(self) -> bytes:
        if isinstance(self.body, (bytes, str)):
            return self.body if isinstance(self.body, bytes) else self.body.encode()
        return json.dumps(self.body).encode()


class Server:
    """Answers by `route`, after the replies in `faults`; `asked` are the paths with their parameters."""

    def __init__(self, route: Any) -> None:
        self.route = route
        self.faults: deque[Reply | None] = deque()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query))
        self.asked.append((parts.path, query))
        fault = self.faults.popleft() if self.faults else None
        reply = fault or self.route(parts.path, query) or Reply(404, {"message": "NotFound"})
        if reply.stall:
            self.released.wait(10)
            return
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.sent)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(reply.sent[: reply.cut])
        if reply.cut is not None:
            handler.close_connection = True

    def close(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def _inside(bars: pd.DataFrame, first: int, last: int) -> pd.DataFrame:
    return bars[
        (bars["timestamp"] >= pd.Timestamp(first, tz="UTC")) & (bars["timestamp"] <= pd.Timestamp(last, tz="UTC"))
    ]


def _rows(bars: pd.DataFrame, order: Iterable[str]) -> list[list[float]]:
    return bars[list(order)].to_numpy().tolist()


def _seconds(bars: pd.DataFrame) -> list[int]:
    return [stamp.value // 10**9 for stamp in bars["timestamp"]]


def bitstamp(bars: pd.DataFrame) -> Any:
    """Numbers as text; the last `limit`, at most 1000, up to the end, which is included: `start` doesn't count."""

    def route(path: str, query: dict[str, str]) -> Reply | None:
        if path != "/api/v2/ohlc/btcusd/":
            return None
        assert 1 <= int(query["limit"]) <= 1000
        found = _inside(bars, 0, int(query["end"]) * 10**9).iloc[-int(query["limit"]) :]
        rows = [
            {"timestamp": str(time), **{name: str(bar[name]) for name in ("open", "high", "low", "close", "volume")}}
            for time, bar in zip(_seconds(found), found.to_dict("records"), strict=True)
        ]
        return Reply(body={"data": {"pair": "BTC/USD", "ohlc": rows}})

    return route


def coinbase(bars: pd.DataFrame) -> Any:
    """LOW, HIGH, OPEN, close, volume, newest first; one candle before start; an error for more than 300."""

    def route(path: str, query: dict[str, str]) -> Reply | None:
        if path != "/products/BTC-USD/candles":
            return None
        first, last, step = utc(query["start"][:-1]), utc(query["end"][:-1]), int(query["granularity"])
        if (last - first) / pd.Timedelta(seconds=step) + 1 > 300:
            return Reply(400, {"message": "granularity too small for the requested time range"})
        early = bars[bars["timestamp"] < first].iloc[-1:]
        found = pd.concat([early, _inside(bars, first.value, last.value)])
        rows = [
            [time, *row]
            for time, row in zip(_seconds(found), _rows(found, ("low", "high", "open", "close", "volume")), strict=True)
        ]
        return Reply(body=rows[::-1])

    return route


def zipped(name: str, text: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return stream.getvalue()


def kline_csv(bars: pd.DataFrame, per_second: int) -> str:
    """Twelve columns without a header, times in `per_second` parts of a second."""
    rows = []
    for bar in bars.itertuples():
        time = bar.timestamp.value * per_second // 10**9
        rows.append(f"{time},{bar.open},{bar.high},{bar.low},{bar.close},{bar.volume},{time + 1},1.5,7,0.5,0.5,0\n")
    return "".join(rows)


def binance_archives(bars: pd.DataFrame, names: Iterable[str], code: str) -> dict[str, bytes]:
    """Zips and checksums of the months (2024-01) or days (2024-01-31) named; microseconds since 2025."""
    files = {}
    for name in names:
        kind, form = ("monthly", "%Y-%m") if len(name) == 7 else ("daily", "%Y-%m-%d")
        text = kline_csv(bars[bars["timestamp"].dt.strftime(form) == name], 10**6 if name >= "2025" else 10**3)
        stem = f"BTCUSDT-{code}-{name}"
        data = zipped(f"{stem}.csv", text)
        path = f"/data/spot/{kind}/klines/BTCUSDT/{code}/{stem}.zip"
        files[path] = data
        files[f"{path}.CHECKSUM"] = f"{hashlib.sha256(data).hexdigest()}  {stem}.zip\n".encode()
    return files


def binance(bars: pd.DataFrame, files: dict[str, bytes] | None = None, rest: Reply | None = None) -> Any:
    """REST in milliseconds with numbers as text, and files."""

    def route(path: str, query: dict[str, str]) -> Reply | None:
        if path in (files or {}):
            return Reply(body=files[path])
        if path != "/api/v3/klines":
            return None
        if rest is not None:
            return rest
        found = _inside(bars, int(query["startTime"]) * 10**6, int(query["endTime"]) * 10**6)
        found = found.iloc[: int(query["limit"])]
        rows = [
            [time * 1000, *map(str, row), time * 1000 + 1, "1.5", 7, "0.5", "0.5", "0"]
            for time, row in zip(_seconds(found), _rows(found, ("open", "high", "low", "close", "volume")), strict=True)
        ]
        return Reply(body=rows)

    return route


def install_ccxt(monkeypatch: pytest.MonkeyPatch, bars: pd.DataFrame, most: int = 100) -> Any:
    """A module `ccxt` with one exchange, `kraken`, that gives at most `most` bars; `faults` are raised first."""
    ccxt: Any = ModuleType("ccxt")
    ccxt.BaseError = type("BaseError", (Exception,), {})
    ccxt.NetworkError = type("NetworkError", (ccxt.BaseError,), {})
    ccxt.BadSymbol = type("BadSymbol", (ccxt.BaseError,), {})
    ccxt.__version__, ccxt.exchanges, ccxt.faults, ccxt.asked = "4.5.0", ["kraken"], deque(), []

    class Kraken:
        has = {"fetchOHLCV": True}  # noqa: RUF012 -- as ccxt has it
        timeframes = {"1m": 1, "1h": 60, "1d": 1440, "1w": 10080}  # noqa: RUF012 -- as ccxt has it

        def __init__(self, settings: dict[str, Any]) -> None:
            assert settings["enableRateLimit"] is True
            assert settings["timeout"] > 0

        def fetch_ohlcv(self, symbol: str, timeframe: str, since: int, limit: int) -> list[list[Any]]:
            ccxt.asked.append(since)
            if ccxt.faults:
                raise ccxt.faults.popleft()
            found = bars[bars["timestamp"] >= pd.Timestamp(since * 10**6, tz="UTC")].iloc[: min(limit, most)]
            rows = _rows(found, ("open", "high", "low", "close", "volume"))
            return [[time * 1000, *row] for time, row in zip(_seconds(found), rows, strict=True)]

    ccxt.kraken = Kraken
    monkeypatch.setitem(sys.modules, "ccxt", ccxt)
    return ccxt


def install_yfinance(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Any:
    """A module `yfinance` whose tickers answer `answer(start, end, interval)` with a frame, or raise."""
    yfinance: Any = ModuleType("yfinance")
    yfinance.config = SimpleNamespace(debug=SimpleNamespace(hide_exceptions=True))
    yfinance.asked = []
    yfinance.YFPricesMissingError = type("YFPricesMissingError", (Exception,), {})
    yfinance.YFRateLimitError = type("YFRateLimitError", (Exception,), {})

    class Ticker:
        def __init__(self, symbol: str) -> None:
            self.symbol = symbol

        def history(
            self, *, start: Any, interval: str, auto_adjust: bool, actions: bool, timeout: float, end: Any = None
        ) -> pd.DataFrame:
            assert (auto_adjust, actions) == (False, True)
            assert timeout > 0
            yfinance.asked.append((interval, pd.Timestamp(start), None if end is None else pd.Timestamp(end)))
            try:
                return answer(pd.Timestamp(start), None if end is None else pd.Timestamp(end), interval)
            except yfinance.YFPricesMissingError:
                if yfinance.config.debug.hide_exceptions:
                    return pd.DataFrame()
                raise

    yfinance.Ticker = Ticker
    monkeypatch.setitem(sys.modules, "yfinance", yfinance)
    return yfinance


def yahoo_table(bars: pd.DataFrame, splits: dict[str, float] | None = None, dividends: Any = None) -> pd.DataFrame:
    """As yfinance gives it: midnight in New York, prices divided by the splits after them, dividends taken out of `Adj Close`."""
    index = pd.DatetimeIndex(bars["timestamp"].dt.tz_localize(None)).tz_localize("America/New_York")
    dates = bars["timestamp"].dt.strftime("%Y-%m-%d")
    split = dates.map(splits or {}).fillna(0.0).to_numpy()
    paid = dates.map(dividends or {}).fillna(0.0).to_numpy()
    later = np.append(np.cumprod(np.where(split > 0, split, 1.0)[::-1])[::-1][1:], 1.0)
    close = bars["close"].to_numpy() / later
    kept = np.append(1 - paid[1:] / close[:-1], 1.0)
    table = {name.title(): bars[name].to_numpy() / later for name in ("open", "high", "low", "close")}
    return pd.DataFrame(
        {
            **table,
            "Adj Close": close * np.cumprod(kept[::-1])[::-1],
            "Volume": bars["volume"].to_numpy() * later,
            "Dividends": paid,
            "Stock Splits": split,
        },
        index=index,
    )


def install_kagglehub(monkeypatch: pytest.MonkeyPatch, folder: Path | Exception) -> Any:
    """A module `kagglehub` whose downloads lie in `folder`, or fail."""
    kagglehub: Any = ModuleType("kagglehub")
    kagglehub.asked = []

    def dataset_download(handle: str, path: str | None = None, *, force_download: bool | None = False) -> str:
        kagglehub.asked.append((handle, path))
        if isinstance(folder, Exception):
            raise folder
        return str(folder / str(path))

    kagglehub.dataset_download = dataset_download
    monkeypatch.setitem(sys.modules, "kagglehub", kagglehub)
    return kagglehub
