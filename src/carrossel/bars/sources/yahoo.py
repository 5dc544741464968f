"""Yahoo Finance through yfinance: stocks, indices, currencies, for personal use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from carrossel.bars.sources.base import COLUMNS, PRICES, LiveSource, LiveSourceConfig, frame_of
from carrossel.bars.sources.web.address import redact
from carrossel.bars.sources.web.candles import misread
from carrossel.bars.sources.web.exchange import named
from carrossel.bars.sources.web.extras import require
from carrossel.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_NAMES = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}
_DIGITS = 7  # Yahoo's prices are float32
_DAY = "1d"


class Yahoo(LiveSource, kind="yahoo"):
    """Bars of one ticker, in shares as they were at `start`.

    Yahoo rewrites the past: each split divides all prices before it, each dividend lowers the adjusted ones. What was stored
    yesterday wouldn't fit what comes today. So splits, and with `adjusted` dividends, are counted from `start` on: prices after a
    2:1 split are doubled, and no stored bar ever changes. Daily bars carry midnight UTC of their session's date.

    Raises:
        ConfigError: if Yahoo has no bars of that interval, or no adjusted ones.
    """

    class Config(LiveSourceConfig):
        """Which ticker."""

        kind: Literal["yahoo"]
        symbol: str = Field(pattern=r"^[A-Za-z0-9.^=-]{1,20}$", description="Ticker, such as GOOG, ^BVSP or BTC-USD.")
        adjusted: bool = Field(default=False, description="Whether dividends are reinvested: daily bars only.")
        read_seconds: float = Field(default=20.0, gt=0, le=300, description="Wait for an answer, at most.")

    config: Config
    intervals: ClassVar[Mapping[str, str]] = {
        "1min": "1m",
        "2min": "2m",
        "5min": "5m",
        "15min": "15m",
        "30min": "30m",
        "1h": "1h",
        "1d": _DAY,
    }
    # The longest span that Yahoo gives at once, in days.
    _spans: ClassVar[Mapping[str, int]] = {"1m": 7, "2m": 50, "5m": 50, "15m": 50, "30m": 50, "1h": 700}

    # How far back it has any, in days.
    _reaches: ClassVar[Mapping[str, int]] = {"1m": 30, "2m": 60, "5m": 60, "15m": 60, "30m": 60, "1h": 730}

    def __init__(self, config: Any, root: Path, interval: str = "1h") -> None:
        super().__init__(config, root, interval)
        self.code = named(interval, self.intervals, self.kind)
        if config.adjusted and self.code != _DAY:
            raise ConfigError(f"adjusted = True: Yahoo adjusts daily bars alone, and interval is {interval!r}.")

    def reach(self, now: pd.Timestamp) -> pd.Timestamp | None:
        days = self._reaches.get(self.code)
        # The next midnight, so that it's still within reach when it is asked for.
        return None if days is None else (now - pd.Timedelta(days=days)).ceil("D")

    def pages(self, start: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.DataFrame]:
        if start >= end:
            return
        days = self._table(_DAY, self.first(), None)
        if not len(days):
            raise self._failed(_DAY, "no day since then")
        # A split counts for the days after it; that of the first day is over in the first price.
        splits = days["Stock Splits"].iloc[1:]
        shares = float(splits[splits > 0].prod())
        if self.code == _DAY:
            page = self._bars(days, shares)
            yield page[(page["timestamp"] >= start) & (page["timestamp"] < end)].reset_index(drop=True)
            return
        span = pd.Timedelta(days=self._spans[self.code])
        while start < end:
            until = min(start + span, end)
            table = self._table(self.code, start, until)
            if len(table):
                yield self._bars(table, shares)
            start = until

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "symbol": self.config.symbol,
            "interval": self.interval,
            "start": self.config.start.isoformat(),
            "shares_of": self.first().date().isoformat(),
            "adjusted": self.config.adjusted,
            "terms": "https://legal.yahoo.com/us/en/yahoo/terms/otos/",
        }

    def _table(self, code: str, start: pd.Timestamp, end: pd.Timestamp | None) -> Any:
        yfinance = require("yfinance", self.kind)
        yfinance.config.debug.hide_exceptions = False  # else an error looks like a range without bars
        ended = {} if end is None else {"end": end.ceil("s").to_pydatetime()}
        try:
            table = yfinance.Ticker(self.config.symbol).history(
                start=start.to_pydatetime(),
                **ended,
                interval=code,
                auto_adjust=False,
                actions=True,
                timeout=self.config.read_seconds,
            )
        except Exception as error:  # noqa: BLE001 -- yfinance raises its own, curl's and built-in exceptions alike
            said = redact(" ".join(str(error).split()))[:300] or type(error).__name__
            # What lies too far back is told in the same words, with Yahoo's reason behind them: that's no empty range.
            refused = "not available" in said or "must be within" in said
            if code != _DAY and not refused and ("no price data found" in said or "Data doesn't exist" in said):
                return pd.DataFrame()  # nothing was traded
            if type(error).__name__ == "YFRateLimitError":
                said += " Such limits come in waves: wait an hour"
            raise self._failed(code, said) from None
        names = [*_NAMES.values(), "Stock Splits", *(["Adj Close"] if self.config.adjusted else [])]
        if not all(name in table for name in names) or getattr(table.index, "tz", None) is None:
            if not len(table):
                return pd.DataFrame()
            raise misread(self._where(), list(table.columns), f"times with their zone and {', '.join(names)}")
        return table

    def _bars(self, table: Any, shares: float) -> pd.DataFrame:
        index = table.index
        if self.code == _DAY:
            index = index.tz_localize(None).normalize().tz_localize("UTC")
        stamps = index.tz_convert("UTC").tz_localize(None).as_unit("ns").to_numpy()
        factor = np.full(len(table), shares)
        if self.config.adjusted:
            reinvested = np.asarray((table["Adj Close"] / table["Close"]).to_numpy(), np.float64)
            known = reinvested[np.isfinite(reinvested)]
            factor *= reinvested / (known[0] if len(known) else 1.0)
        columns = {name: np.asarray(table[_NAMES[name]].to_numpy(), np.float64) for name in COLUMNS[1:]}
        prices = {name: _rounded(columns[name] * factor) for name in PRICES}
        return frame_of(stamps, {**prices, "volume": columns["volume"] / shares})

    def _failed(self, code: str, said: str) -> SourceError:
        return SourceError(
            f"{self._where()}: {code} bars didn't come ({said}). Check symbol and start; Yahoo keeps 1min for 30 days, other "
            "intervals under 1h for 60, 1h for 730. The next run asks again."
        )

    def _where(self) -> str:
        return f"finance.yahoo.com, {self.config.symbol}"


def _rounded(values: np.ndarray) -> np.ndarray:
    """To as many digits as Yahoo has: the others change from one answer to the next."""
    with np.errstate(divide="ignore", invalid="ignore"):
        places = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        rounded = np.rint(values * places) / places
    return np.where(np.isfinite(rounded), rounded, values)
