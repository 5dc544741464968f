"""Any of the hundred exchanges that the library ccxt knows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from carrossel.bars.interval import nanoseconds, written
from carrossel.bars.sources.base import COLUMNS, LiveSource, LiveSourceConfig
from carrossel.bars.sources.web.address import redact
from carrossel.bars.sources.web.candles import candles
from carrossel.bars.sources.web.exchange import named
from carrossel.bars.sources.web.extras import require
from carrossel.bars.sources.web.paging import stamp
from carrossel.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

_UNITS = {"s": "s", "m": "min", "h": "h", "d": "d"}


class Ccxt(LiveSource, kind="ccxt"):
    """`fetch_ohlcv` of one exchange, with ccxt's own rate limit.

    Pages are as long as the exchange makes them, so each begins after the last bar of the one before. An exchange that gives
    only its newest bars (Kraken: 720) leaves a gap.
    """

    class Config(LiveSourceConfig):
        """Which market of which exchange."""

        kind: Literal["ccxt"]
        exchange: str = Field(pattern=r"^[a-z0-9]{2,30}$", description="ccxt's name of it, such as kraken.")
        symbol: str = Field(
            "BTC/USD", pattern=r"^[\w/:.-]{3,40}$", description="Market as ccxt writes it, such as BTC/USD."
        )
        page: int = Field(500, ge=1, le=5000, description="Bars to ask for at once.")
        read_seconds: float = Field(20.0, gt=0, le=300, description="Wait for an answer, at most.")
        retries: int = Field(4, ge=0, le=20, description="Tries after the first that fails in a way that may pass.")
        backoff_seconds: float = Field(0.5, ge=0, le=60, description="Wait before a retry; it doubles each time.")

    config: Config

    def pages(self, start: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.DataFrame]:
        ccxt, step = require("ccxt", self.kind), nanoseconds(self.interval)
        exchange, code = self._open(ccxt)
        first, stop = -(-start.value // step) * step, end.value
        while first < stop:
            page = candles(self._ask(ccxt, exchange, code, first), range(len(COLUMNS)), step, self._where())
            newest = page["timestamp"].max().value if len(page) else 0
            if newest >= first:
                yield page
                first = newest // step * step + step
            else:  # nothing new: no trades in these bars
                first += self.config.page * step

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "exchange": self.config.exchange,
            "symbol": self.config.symbol,
            "interval": self.interval,
            "start": self.config.start.isoformat(),
            "terms": f"those of {self.config.exchange}",
        }

    def _open(self, ccxt: Any) -> tuple[Any, str]:
        name = self.config.exchange
        if name not in ccxt.exchanges:
            raise ConfigError(
                f"source.exchange = {name!r}: ccxt {ccxt.__version__} doesn't know it. See docs.ccxt.com."
            )
        settings = {"enableRateLimit": True, "timeout": round(self.config.read_seconds * 1000)}
        exchange = getattr(ccxt, name)(settings)
        if not exchange.has.get("fetchOHLCV"):
            raise ConfigError(f"source.exchange = {name!r} gives no bars through ccxt. Take another exchange.")
        known = {_written(code): code for code in exchange.timeframes or {} if code[-1:] in _UNITS}
        return exchange, named(self.interval, known, f"ccxt ({name})")

    def _ask(self, ccxt: Any, exchange: Any, code: str, first: int) -> Any:
        failed = ""
        for attempt in range(self.config.retries + 1):
            if attempt:
                time.sleep(self.config.backoff_seconds * 2 ** (attempt - 1))
            try:
                return exchange.fetch_ohlcv(self.config.symbol, code, since=first // 10**6, limit=self.config.page)
            except ccxt.NetworkError as error:
                failed = redact(" ".join(str(error).split()))[:300]
            except ccxt.BaseError as error:
                said = redact(" ".join(str(error).split()))[:300]
                raise SourceError(f"{self._where()}: refused ({said}). Check exchange, symbol and start.") from None
        raise SourceError(
            f"{self._where()}: bars from {stamp(first)} didn't come in {self.config.retries + 1} tries ({failed}). What is stored "
            "stays; the next run asks again."
        )

    def _where(self) -> str:
        return f"{self.config.exchange} (ccxt), {self.config.symbol}"


def _written(code: str) -> str:
    """An interval of ccxt, such as 1m, 4h or 1d, as it is written here."""
    return written(nanoseconds(code[:-1] + _UNITS[code[-1]]))
