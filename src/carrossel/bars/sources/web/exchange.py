"""What the exchanges' own sources have in common: a symbol, an address, and bars of certain lengths."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from carrossel.bars.interval import nanoseconds
from carrossel.bars.sources.base import LiveSource, LiveSourceConfig
from carrossel.bars.sources.web.address import BaseUrl  # noqa: TC001 -- pydantic reads annotations at run time
from carrossel.bars.sources.web.client import Client, Http
from carrossel.bars.sources.web.paging import paged
from carrossel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pandas as pd


class ExchangeConfig(LiveSourceConfig):
    """The part that every exchange has."""

    base_url: BaseUrl
    http: Http = Field(Http(), description="How it is asked.")


class Exchange(LiveSource):
    """An exchange that gives pages of candles.

    Raises:
        ConfigError: if the exchange has no bars of that interval.
    """

    intervals: ClassVar[Mapping[str, Any]]  # how the exchange names each length
    most: ClassVar[int]  # candles in a page
    rate: ClassVar[float]  # requests a second that it bears well
    terms: ClassVar[str]

    def __init__(self, config: Any, root: Path, interval: str = "1h") -> None:
        super().__init__(config, root, interval)
        self.step = nanoseconds(interval)
        self.code = named(interval, self.intervals, self.kind)

    @abc.abstractmethod
    def ask(self, client: Client, first: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
        """The page of bars from one stamp to another, both included."""

    def pages(self, start: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.DataFrame]:
        with Client(self.config.http, self.rate) as client:
            yield from self.asked(client, start, end)

    def asked(self, client: Client, start: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.DataFrame]:
        """Pages that `ask` gives for [start, end)."""
        return paged(
            lambda first, last: self.ask(client, first, last), start, end, self.step, self.most, self.config.base_url
        )

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "symbol": self.config.symbol,
            "interval": self.interval,
            "start": self.config.start.isoformat(),
            "url": self.config.base_url,
            "terms": self.terms,
        }


def named(interval: str, names: Mapping[str, Any], kind: str) -> Any:
    """How a source names an interval; 60min is 1h.

    Raises:
        ConfigError: naming the intervals that the source has.
    """
    wanted = nanoseconds(interval)
    for known, name in names.items():
        if nanoseconds(known) == wanted:
            return name
    raise ConfigError(
        f"interval = {interval!r}: source {kind} has bars of {', '.join(names)}. Take a shorter one of them as the dataset's "
        f"interval and {interval!r} as its resample."
    )
