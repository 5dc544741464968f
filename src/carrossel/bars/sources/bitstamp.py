"""Bitstamp, an exchange of 2011 with a public API without key."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from carrossel.bars.sources.web.address import BaseUrl  # noqa: TC001 -- pydantic reads annotations at run time
from carrossel.bars.sources.web.candles import candles, misread
from carrossel.bars.sources.web.exchange import Exchange, ExchangeConfig

if TYPE_CHECKING:
    import pandas as pd

    from carrossel.bars.sources.web.client import Client


class Bitstamp(Exchange, kind="bitstamp"):
    """Candles of `/api/v2/ohlc/{symbol}/`: at most 1000 a page, which ends with the bar asked for.

    References:
        https://www.bitstamp.net/api/#tag/Market-info/operation/GetOHLCData
    """

    class Config(ExchangeConfig):
        """Which market."""

        kind: Literal["bitstamp"]
        symbol: str = Field("btcusd", pattern=r"^[a-z0-9]{4,20}$", description="Market, such as btcusd or etheur.")
        base_url: BaseUrl = Field("https://www.bitstamp.net", description="Bitstamp, or what answers as it does.")

    config: Config
    intervals: ClassVar = {
        "1min": 60,
        "3min": 180,
        "5min": 300,
        "15min": 900,
        "30min": 1800,
        "1h": 3600,
        "2h": 7200,
        "4h": 14400,
        "6h": 21600,
        "12h": 43200,
        "1d": 86400,
    }
    most = 1000
    rate = 8.0  # 10,000 in ten minutes are allowed
    terms = "https://www.bitstamp.net/terms-of-use/"

    def ask(self, client: Client, first: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
        url = f"{self.config.base_url}/api/v2/ohlc/{self.config.symbol}/"
        span = {"start": first.value // 10**9, "end": last.value // 10**9}
        # Given an end, Bitstamp leaves `start` aside and counts back from it.
        limit = min((last.value - first.value) // self.step + 1, self.most)
        answer = client.json(url, {"step": self.code, "limit": limit, **span})
        try:
            rows = answer["data"]["ohlc"]
        except (TypeError, KeyError):
            raise misread(url, answer, "data with ohlc") from None
        page = candles(rows, ("timestamp", "open", "high", "low", "close", "volume"), self.step, url)
        return page[page["timestamp"] >= first].reset_index(
            drop=True
        )  # where nobody traded it has counted back too far
