"""Binance: archives with checksums for what lies back, its REST API for the rest, both without key."""

from __future__ import annotations

import io
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from pydantic import Field

from carrossel.bars.interval import DAY
from carrossel.bars.sources.base import COLUMNS
from carrossel.bars.sources.web.address import BaseUrl  # noqa: TC001 -- pydantic reads annotations at run time
from carrossel.bars.sources.web.archives import fetch_member
from carrossel.bars.sources.web.candles import bars, candles
from carrossel.bars.sources.web.client import Client
from carrossel.bars.sources.web.exchange import Exchange, ExchangeConfig
from carrossel.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WIDTH = 12  # columns of an archive's CSV
_MONTHLY = 300  # bars of a whole month that are worth its archive, which is checked and comes where REST is refused
_FEW_DAYS = pd.Timedelta(days=3)  # a month's archive is as large as thirty days'


class Span(NamedTuple):
    """Part of a range and what to take it from."""

    source: Literal["monthly", "daily", "rest"]
    start: pd.Timestamp
    end: pd.Timestamp


class Binance(Exchange, kind="binance"):
    """Klines: whole months and days from data.binance.vision where that saves requests, else `/api/v3/klines`.

    An archive that isn't published yet is replaced by shorter ones, a day by REST. Archives have microseconds since 2025 and
    milliseconds before.

    References:
        https://github.com/binance/binance-public-data and https://developers.binance.com/docs/binance-spot-api-docs
    """

    class Config(ExchangeConfig):
        """Which market."""

        kind: Literal["binance"]
        symbol: str = Field("BTCUSDT", pattern=r"^[A-Z0-9]{4,20}$", description="Market, such as BTCUSDT.")
        base_url: BaseUrl = Field(
            "https://api.binance.com",
            description="REST API; where it answers 451, https://data-api.binance.vision has the same bars.",
        )
        archive_url: BaseUrl = Field("https://data.binance.vision", description="Archives.")

    config: Config
    intervals: ClassVar = {
        "1min": "1m",
        "3min": "3m",
        "5min": "5m",
        "15min": "15m",
        "30min": "30m",
        "1h": "1h",
        "2h": "2h",
        "4h": "4h",
        "6h": "6h",
        "8h": "8h",
        "12h": "12h",
        "1d": "1d",
    }
    most = 1000
    rate = 8.0
    terms = "https://www.binance.com/en/terms"

    def pages(self, start: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.DataFrame]:
        with Client(self.config.http, self.rate) as client:
            spans = deque(self._plan(start, end))
            while spans:
                span = spans.popleft()
                if span.source == "rest":
                    yield from self.asked(client, span.start, span.end)
                elif (page := self._archive(client, span)) is not None:
                    yield page
                else:
                    spans.extendleft(reversed(self._instead(client, span)))

    def ask(self, client: Client, first: pd.Timestamp, last: pd.Timestamp, most: int | None = None) -> pd.DataFrame:
        url = f"{self.config.base_url}/api/v3/klines"
        span = {"startTime": first.value // 10**6, "endTime": last.value // 10**6}
        asked = {"symbol": self.config.symbol, "interval": self.code, **span, "limit": most or self.most}
        return candles(client.json(url, asked), range(len(COLUMNS)), self.step, url)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "archives": self.config.archive_url}

    def _plan(self, start: pd.Timestamp, end: pd.Timestamp) -> list[Span]:
        """Archives of what is over: of a month that is wanted whole, and where more is wanted than a page of REST has."""
        parts: list[Span] = []
        for month in _calendar(start, end, "MS"):
            short = month.end - month.start <= _FEW_DAYS and self.most * self.step < DAY
            whole = not short and self._worth(month, end, pd.offsets.MonthBegin())
            parts += [month] if whole else self._days(month)
        return _joined(parts)

    def _days(self, month: Span) -> list[Span]:
        return _joined(
            day if self._worth(day, month.end, pd.Timedelta(days=1)) else Span("rest", day.start, day.end)
            for day in _calendar(month.start, month.end, "D")
        )

    def _worth(self, span: Span, end: pd.Timestamp, length: Any) -> bool:
        begin = _floor(span.start, span.source)
        over = begin + length
        few = _MONTHLY if span == ("monthly", begin, over) else self.most
        return bool(over <= end) and (span.end - span.start).value // self.step > few

    def _instead(self, client: Client, span: Span) -> list[Span]:
        """What to take a span from whose archive isn't there; nothing if the market didn't exist yet."""
        if span.source == "daily":
            return [Span("rest", span.start, span.end)]
        try:
            first = self.ask(client, span.start, span.end - pd.Timedelta(1, "ns"), most=1)
        except SourceError:  # archives may be there where REST isn't served
            return self._days(span)
        if not len(first):
            return []
        begin = max(span.start, first["timestamp"].iloc[0].floor("D"))
        return self._days(Span("monthly", begin, span.end))

    def _archive(self, client: Client, span: Span) -> pd.DataFrame | None:
        symbol, form = self.config.symbol, "%Y-%m" if span.source == "monthly" else "%Y-%m-%d"
        folder = f"{self.config.archive_url}/data/spot/{span.source}/klines/{symbol}/{self.code}"
        url = f"{folder}/{symbol}-{self.code}-{span.start.strftime(form)}.zip"
        text = fetch_member(client, url)
        if text is None:
            return None
        page = _parse(text, self.step, url)
        return page[(page["timestamp"] >= span.start) & (page["timestamp"] < span.end)].reset_index(drop=True)


def _joined(spans: Iterable[Span]) -> list[Span]:
    """The same; what is taken from REST one after the other is one span, since each costs a request."""
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].source == span.source == "rest":
            joined[-1] = Span("rest", joined[-1].start, span.end)
        else:
            joined.append(span)
    return joined


def _floor(stamp: pd.Timestamp, source: str) -> pd.Timestamp:
    day = stamp.floor("D")
    return day.replace(day=1) if source == "monthly" else day


def _calendar(start: pd.Timestamp, end: pd.Timestamp, frequency: Literal["MS", "D"]) -> list[Span]:
    """[start, end) cut at the months' or days' beginnings."""
    source: Literal["monthly", "daily"] = "monthly" if frequency == "MS" else "daily"
    if start >= end:
        return []
    edges = pd.date_range(start.floor("D"), end, freq=frequency)
    cuts = [start, *(edge for edge in edges if start < edge < end), end]
    return [Span(source, a, b) for a, b in itertools.pairwise(cuts)]


def _parse(text: bytes, step: int, url: str) -> pd.DataFrame:
    """Bars of an archive's CSV, which has a header in some years and none in others."""
    names = [*COLUMNS, *(f"other_{i}" for i in range(_WIDTH - len(COLUMNS)))]
    types = {"timestamp": pa.int64(), **dict.fromkeys(COLUMNS[1:], pa.float64())}
    try:
        table = pacsv.read_csv(
            io.BytesIO(text),
            pacsv.ReadOptions(column_names=names, skip_rows=1 if text.startswith(b"open_time") else 0),
            convert_options=pacsv.ConvertOptions(include_columns=list(COLUMNS), column_types=types),
        )
        times = np.asarray(table["timestamp"].to_numpy(), np.int64)
        columns = {name: np.asarray(table[name].to_numpy(), np.float64) for name in COLUMNS[1:]}
    except (pa.ArrowException, ValueError) as error:
        raise SourceError(f"{url}: its CSV isn't understood ({error}). Nothing of it was stored.") from None
    return bars(times, columns, step, url)
