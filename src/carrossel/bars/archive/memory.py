"""What an archive remembers beside its bars: which ranges failed, which bars never came, and when to ask again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, ValidationError

from carrossel import files
from carrossel.errors import BarsError

if TYPE_CHECKING:
    from pathlib import Path

_SHORTEST, _HOUR, _DAY = pd.Timedelta("1min"), pd.Timedelta("1h"), pd.Timedelta("1D")

Stamp = Annotated[
    pd.Timestamp,
    PlainValidator(lambda value: pd.Timestamp(value).tz_convert("UTC")),
    PlainSerializer(lambda stamp: stamp.isoformat(), return_type=str),
]


class Missing(BaseModel):
    """A range [first, end) without bars, or with holes.

    Attributes:
        bars: how many are missing, where that is known.
        tries: how often they were asked for.
        asked: when, the last time.
        again: when they are worth the next request.
        reason: what the source said.
    """

    model_config = ConfigDict(extra="forbid")

    first: Stamp
    end: Stamp
    bars: int | None = None
    tries: int
    asked: Stamp
    again: Stamp
    reason: str

    def is_due(self, now: pd.Timestamp) -> bool:
        """Whether to ask again; a clock that was turned back since doesn't make it wait."""
        return not self.asked <= now < self.again


class Memory(BaseModel):
    """Contents of state.json.

    Attributes:
        interval: length of the bars.
        source: what the source said of itself.
        start: from here on bars were asked for.
        checked: the newest partition in which holes were looked for; None: in none yet.
        partitions: how many there were then.
        failed: ranges in which the source failed.
        gaps: by partition: where the source answered, but not with a bar for each step.
    """

    model_config = ConfigDict(extra="forbid")

    interval: str
    source: dict[str, Any]
    start: Stamp | None = None
    checked: str | None = None
    partitions: int = 0
    failed: list[Missing] = []
    gaps: dict[str, Missing] = {}


def read_memory(path: Path) -> Memory | None:
    """None if there is none: all of it can be found out again.

    Raises:
        BarsError: if the file is something else.
    """
    try:
        return Memory.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, ValueError, TypeError) as error:
        raise BarsError(
            f"{path} isn't what an archive remembers: {str(error).splitlines()[0]}. Delete it and run again: no bar is "
            "lost, and gaps are looked for once more."
        ) from None


def write_memory(path: Path, memory: Memory) -> None:
    """Replace the file if it says something else."""
    text = json.dumps(memory.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        files.write_text(path, text)


def wait_after_failure(tries: int, step: pd.Timedelta) -> pd.Timedelta:
    """A bar's length, an hour at most, doubled with each try, up to a day."""
    return min(_first_wait(step) * float(2 ** min(tries - 1, 20)), _DAY)


def wait_for_gap(tries: int, age: pd.Timedelta, step: pd.Timedelta) -> pd.Timedelta:
    """Until the gap is twice as old, the first time a day at most.

    Exchanges deliver late bars soon or never: the longer a hole has been there, the rarer it is worth a request.
    """
    return max(_first_wait(step), min(age, _DAY) if tries <= 1 else age)


def _first_wait(step: pd.Timedelta) -> pd.Timedelta:
    return min(max(step, _SHORTEST), _HOUR)
