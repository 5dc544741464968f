"""Coinbase Exchange, with a public API without key."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from carrossel.bars.sources.web.address import BaseUrl  # noqa: TC001 -- pydantic reads annotations at run time
from carrossel.bars.sources.web.candles import candles
from carrossel.bars.sources.web.exchange import Exchange, ExchangeConfig

if TYPE_CHECKING:
    import pandas as pd

    from carrossel.bars.sources.web.client import Client


class Coinbase(Exchange, kind="coinbase"):
    """Candles of `/products/{symbol}/candles`: at most 300 a page, newest first, none where nobody traded.

    A page may hold candles before `start`.

    References:
        https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproductcandles
    """

    class Config(ExchangeConfig):
        """Which product."""

        kind: Literal["coinbase"]
        symbol: str = Field(
            "BTC-USD", pattern=r"^[A-Z0-9]{1,10}-[A-Z0-9]{1,10}$", description="Product, such as BTC-USD."
        )
        base_url: BaseUrl = Field(
            "https://api.exchange.coinbase.com", description="Coinbase, or what answers as it does."
        )

    config: Config
    intervals: ClassVar = {"1min": 60, "5min": 300, "15min": 900, "1h": 3600, "6h": 21600, "1d": 86400}
    most = 300
    rate = 5.0  # 10 are allowed
    terms = "https://www.coinbase.com/legal/market_data"

    def ask(self, client: Client, first: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
        url = f"{self.config.base_url}/products/{self.config.symbol}/candles"
        span = {"start": f"{first:%Y-%m-%dT%H:%M:%SZ}", "end": f"{last:%Y-%m-%dT%H:%M:%SZ}"}
        # A row is time, low, high, open, close, volume.
        return candles(client.json(url, {"granularity": self.code, **span}), (0, 3, 2, 1, 4, 5), self.step, url)
