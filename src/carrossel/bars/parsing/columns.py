"""Which column of a file is the time, the prices and the volume."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrossel.bars.sources.base import PRICES
from carrossel.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Most telling first: `unix` can't be misread, `date` may lack the hour.
_ALIASES: dict[str, tuple[str, ...]] = {
    "timestamp": (
        *("unix", "unix_timestamp", "timestamp", "epoch", "open_time", "opentime", "datetime", "date_time"),
        *("date", "time", "start", "day", "index_level_0"),
    ),
    "open": ("open", "open_price", "opening_price", "o"),
    "high": ("high", "high_price", "max", "h"),
    "low": ("low", "low_price", "min", "l"),
    "close": ("close", "close_price", "closing_price", "close_last", "price", "last", "mean", "value", "c"),
    "adjusted_close": ("adj_close", "adjclose", "adjusted_close", "close_adj", "adjusted"),
    # The base currency's volume first: one file has volume_btc (BTC) and volume (USD) side by side.
    "volume": ("volume_btc", "volume_base", "volumefrom", "volume_from", "volume", "vol", "v"),
}
_QUOTE_VOLUMES = {
    "volume_currency",
    "volume_quote",
    "volume_to",
    "volume_usd",
    "volume_usdt",
    "volume_eur",
    "volume_weighted",
}

FIELDS = ("timestamp", *PRICES, "volume", "adjusted_close")


@dataclass(frozen=True)
class Choice:
    """Names of a file's columns by what they mean; `time_of_day` stands beside a timestamp that is only a date."""

    timestamp: str
    close: str
    open: str | None = None
    high: str | None = None
    low: str | None = None
    volume: str | None = None
    adjusted_close: str | None = None
    time_of_day: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """The columns there are, by meaning."""
        return {meaning: name for meaning, name in vars(self).items() if name is not None}


def plain(name: str) -> str:
    """A column's name in lower case with `_` for everything that isn't a letter or digit: `Volume_(BTC)` → `volume_btc`."""
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def is_header(cells: Sequence[str], named: Mapping[str, str]) -> bool:
    """Whether a line names a time and a price."""
    found = _match(cells, named)
    return "timestamp" in found and ("close" in found or "adjusted_close" in found)


def choose(names: Sequence[str], named: Mapping[str, str]) -> Choice:
    """Find out which column is which.

    Args:
        names: the file's columns.
        named: what the user says, by meaning; wins over the guess.

    Raises:
        SourceError: if time or price isn't found, a named column isn't there, or only some of open, high, low are.
    """
    for meaning, name in named.items():
        if name not in names:
            raise SourceError(f"columns.{meaning} = {name!r}: the file has no such column; it has: {_listed(names)}.")
    found = _match(names, named)
    if "close" not in found and "adjusted_close" in found:
        found["close"] = found["adjusted_close"]
    missing = [meaning for meaning in ("timestamp", "close") if meaning not in found]
    if missing:
        raise SourceError(
            f"no column looks like {' or '.join(missing)}; the file has: {_listed(names)}. "
            f"Name it in the source's columns, such as columns: {{{missing[0]}: {names[0] if names else '...'}}}."
        )
    others = [meaning for meaning in ("open", "high", "low") if meaning in found]
    if set(named) & set(PRICES) == {"close"}:  # the user picks one column as the price
        for meaning in others:
            del found[meaning]
    elif 0 < len(others) < 3:  # noqa: PLR2004 -- all of open, high, low
        raise SourceError(
            f"has {', '.join(others)} and close, but bars need open, high, low and close, or one price column alone. "
            f"Name the missing ones in the source's columns, or the price alone: columns: {{close: {found['close']}}}."
        )
    by_plain = {plain(name): name for name in reversed(names)}
    if plain(found["timestamp"]) == "date" and "time" in by_plain and "timestamp" not in named:
        found["time_of_day"] = by_plain["time"]
    return Choice(**found)


def _match(names: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    by_plain = {plain(name): name for name in reversed(names)}
    found = {}
    for meaning, aliases in _ALIASES.items():
        alias = next((alias for alias in aliases if alias in by_plain), None)
        if alias is not None:
            found[meaning] = by_plain[alias]
    if "volume" not in found or plain(found["volume"]) in ("volume", "vol", "v"):
        base = [name for key, name in by_plain.items() if key.startswith("volume_") and key not in _QUOTE_VOLUMES]
        if len(base) == 1:
            found["volume"] = base[0]
    found.update({meaning: name for meaning, name in named.items() if name in names})
    return found


def _listed(names: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "") if names else "none"
