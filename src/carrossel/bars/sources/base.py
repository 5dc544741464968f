"""What a source is: it delivers bars as they are, in the order they came, and says where they are from."""

from __future__ import annotations

import abc
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import AwareDatetime, Field
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError, core_schema

from carrossel.config import Section
from carrossel.errors import SourceError, UnknownKind
from carrossel.kinds import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

PRICES = ("open", "high", "low", "close")
COLUMNS = ("timestamp", *PRICES, "volume")
_USER = re.compile(r"//[^/@\s]+@")  # of a URL


class SourceConfig(Section):
    """The part of a dataset that says where its bars come from."""

    kind: str


@dataclass(frozen=True)
class RawBars:
    """What a source delivered, parsed and not repaired: order, duplicates and NaN are kept.

    Attributes:
        frame: columns timestamp (datetime64[ns, UTC], start of the bar), open, high, low, close, volume (float64).
        provenance: where the bars come from, as plain JSON data without any clock.
        notes: sentences for the person who runs the stage.
    """

    frame: pd.DataFrame
    provenance: dict[str, Any]
    notes: tuple[str, ...] = ()


class Source(abc.ABC):
    """A place that bars come from. A subclass lives in a file named after its kind.

    Args:
        config: this source's part of the dataset.
        root: folder that relative paths start from.
        interval: length of the bars wanted, such as 1h; a source whose bars have a length of their own leaves it aside.
    """

    kind: ClassVar[str]
    Config: ClassVar[type[SourceConfig]]

    def __init_subclass__(cls, *, kind: str | None = None, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if kind is not None:
            cls.kind = kind
            sources.add(kind, cls)

    def __init__(self, config: Any, root: Path, interval: str = "1h") -> None:
        self.config = config
        self.root = root
        self.interval = interval

    @abc.abstractmethod
    def fetch(self) -> RawBars:
        """Deliver all bars.

        Raises:
            SourceError: if there is nothing, or nothing that can be understood.
        """

    def gave(self, provenance: Mapping[str, Any]) -> bool:
        """Whether stored bars of this provenance are this source's, whichever version, and will do while it can't be reached.

        Never those of a source on this machine: what is wrong with it is to be mended.
        """
        del provenance
        return False


class LiveSourceConfig(SourceConfig):
    """The part that every live source has."""

    start: AwareDatetime = Field(description="Stamp of the first bar wanted, UTC, such as 2017-01-01T00:00:00Z.")


class LiveSource(Source):
    """A source that can be asked for a range of time, again and again. It stores nothing: see `carrossel.bars.archive`."""

    Config: ClassVar[type[LiveSourceConfig]]

    @abc.abstractmethod
    def pages(self, start: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.DataFrame]:
        """Bars whose stamps lie in [start, end), oldest page first, with the columns of `RawBars.frame`.

        A page is as the source gives it: the bar still open, repeated stamps and stamps outside of the range are kept.
        Pages that came before a failure are the caller's to keep.

        Raises:
            SourceError: naming the URL, what came, and what to do.
        """

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Where the bars come from, as plain JSON data without any clock: the provenance."""

    def first(self) -> pd.Timestamp:
        """Stamp of the first bar wanted, UTC."""
        return pd.Timestamp(self.config.start).tz_convert("UTC")

    def reach(self, now: pd.Timestamp) -> pd.Timestamp | None:
        """Stamp of the oldest bar that can be had at `now`, UTC; None if all can."""
        del now
        return None

    def present(self, now: pd.Timestamp, last: pd.Timestamp | None, step: pd.Timedelta) -> pd.Timestamp:
        """The present as this source sees it, UTC: the clock's, unless the source replays a past.

        Args:
            now: the clock's.
            last: stamp of the last bar that is stored already.
            step: length of the bars that the caller waits for.
        """
        del last, step
        return now

    def fetch(self) -> RawBars:
        """Deliver all bars there are, without an archive.

        Raises:
            SourceError: see `pages`.
        """
        now = self.present(pd.Timestamp.now("UTC"), None, pd.Timedelta(self.interval))
        start, reach = self.first(), self.reach(now)
        pages = list(self.pages(start if reach is None else max(start, reach), now))
        if not pages:
            raise SourceError(f"{self.kind}: no bars since {start}. Check start and symbol.")
        return RawBars(pd.concat(pages, ignore_index=True), self.describe())


sources: Registry[Source] = Registry("carrossel.bars.sources", "source")


def open_source(config: SourceConfig, root: Path, interval: str) -> Source:
    """The source that a config describes.

    Args:
        interval: see `Source`.

    Raises:
        UnknownKind: naming the kinds there are.
    """
    return sources.load(config.kind)(config, root, interval)


def frame_of(timestamps: np.ndarray, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Put columns together in the order of the contract, without copying those that may be written to.

    Args:
        timestamps: datetime64[ns] in UTC.
        columns: float64 arrays by name; any besides the contract's come last.
    """
    stamps = pd.DatetimeIndex(timestamps).as_unit("ns").tz_localize("UTC")
    # Writable, since arrays out of Arrow or out of another frame aren't, and pandas would fail far from here.
    names = [*COLUMNS[1:], *(name for name in columns if name not in COLUMNS)]
    values = {name: np.require(columns[name], np.float64, "W") for name in names}
    return pd.DataFrame({"timestamp": stamps, **values}, copy=False)


class AnySource:
    """Annotation for a config of any kind: only the named kind's file is imported to check it.

    Args:
        live: whether live sources are among them.
    """

    def __init__(self, *, live: bool = True) -> None:
        self.live = live

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda config: config.model_dump()),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        classes = [sources.load(kind) for kind in sources.kinds()]
        return {"oneOf": [handler(cls.Config.__pydantic_core_schema__) for cls in classes if self._takes(cls)]}

    def _takes(self, cls: type[Source]) -> bool:
        return self.live or not issubclass(cls, LiveSource)

    def _validate(self, value: Any) -> SourceConfig:
        if not isinstance(value, SourceConfig) and (not isinstance(value, dict) or "kind" not in value):
            kinds = ", ".join(sources.kinds())
            raise PydanticCustomError("no_kind", "expected a mapping with a kind, one of: {kinds}", {"kinds": kinds})
        kind = value.kind if isinstance(value, SourceConfig) else str(value["kind"])
        try:
            cls = sources.load(kind)
        except UnknownKind as error:
            raise PydanticCustomError("unknown_kind", "{message}", {"message": str(error)}) from None
        if not self._takes(cls):
            raise PydanticCustomError(
                "live", "{kind} is live; expected a stored series, such as csv or sample", {"kind": kind}
            )
        if isinstance(value, SourceConfig):
            return value
        try:
            return cls.Config.model_validate(value)
        except ValidationError as error:
            raise _explained(error, cls.Config) from None


def _explained(error: ValidationError, config: type[SourceConfig]) -> ValidationError:
    """The same errors; unknown keys name the keys of this kind, which nobody outside of this file can know."""
    allowed = ", ".join(config.model_fields)
    lines: list[InitErrorDetails] = []
    for line in error.errors():
        unknown = line["type"] == "extra_forbidden"
        message = f"unknown key; allowed keys: {allowed}" if unknown else line["msg"]
        kind = PydanticCustomError("unknown_key" if unknown else line["type"], "{message}", {"message": message})
        value = line["input"]
        lines.append(
            InitErrorDetails(
                type=kind, loc=line["loc"], input=_USER.sub("//***@", value) if isinstance(value, str) else value
            )
        )
    return ValidationError.from_exception_data(config.__name__, lines)
