"""What people see while trials run: a live view on a terminal, elsewhere a line for each trial that ended."""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from rich.console import RenderableType

    from carrossel.tuning.trial import Outcome, Point

_RUNNING, _ENDED, _BAR = 12, 5, 10
_STYLE = {"complete": "green", "pruned": "yellow", "failed": "red"}
_MINUTE, _HOUR = 60, 3600


class Best(NamedTuple):
    """A study's best trial so far: its number and its validation skill."""

    number: int
    skill: float


class Progress(Protocol):
    """Who is told how trials go; labels tell studies apart that run side by side."""

    def started(self, label: str, number: int, values: Mapping[str, Any]) -> None:
        """A trial was handed out with these values."""

    def reported(self, label: str, number: int, point: Point) -> None:
        """A trial ended an epoch."""

    def ended(self, label: str, number: int, outcome: Outcome, finished: int, trials: int, best: Best | None) -> None:
        """A trial ended.

        Args:
            finished: trials of the study that are complete or pruned by now.
            trials: that many are asked for.
            best: of the study; None before its first complete trial.
        """


class Lines:
    """A line for each trial that ended, which still says something next week.

    Args:
        tell: takes a line.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._values: dict[tuple[str, int], Mapping[str, Any]] = {}

    def started(self, label: str, number: int, values: Mapping[str, Any]) -> None:
        self._values[label, number] = values

    def reported(self, label: str, number: int, point: Point) -> None:
        pass

    def ended(self, label: str, number: int, outcome: Outcome, finished: int, trials: int, best: Best | None) -> None:
        reached = f" (best {percent(best.skill)} of trial {best.number})" if best else ""
        said = f"{say_outcome(outcome)}{reached}, {outcome.seconds:.1f} s"
        drawn = say_values(self._values.pop((label, number), {}))
        self._tell(", ".join(part for part in (f"{label}: {finished}/{trials} trial {number} {said}", drawn) if part))


@dataclass
class _Trial:
    """A trial between its first and its last epoch."""

    values: Mapping[str, Any]
    point: Point | None = None


@dataclass
class _Count:
    """How far a study is."""

    finished: int = 0
    trials: int | None = None
    best: Best | None = None
    since: float = 0.0
    ended: int = 0


@dataclass
class Screen:
    """A live view; a context manager.

    Args:
        console: where to draw.
        clock: seconds from anywhere, for rates.
    """

    console: Console
    clock: Callable[[], float] = time.monotonic
    _running: dict[tuple[str, int], _Trial] = field(default_factory=dict)
    _counts: dict[str, _Count] = field(default_factory=dict)
    _last: deque[tuple[str, int, Outcome]] = field(default_factory=lambda: deque(maxlen=_ENDED))

    def __post_init__(self) -> None:
        self._live = Live(console=self.console, refresh_per_second=4, get_renderable=self.render)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def started(self, label: str, number: int, values: Mapping[str, Any]) -> None:
        self._counts.setdefault(label, _Count(since=self.clock()))
        self._running[label, number] = _Trial(values)

    def reported(self, label: str, number: int, point: Point) -> None:
        if (label, number) in self._running:
            self._running[label, number].point = point

    def ended(self, label: str, number: int, outcome: Outcome, finished: int, trials: int, best: Best | None) -> None:
        self._running.pop((label, number), None)
        count = self._counts.setdefault(label, _Count(since=self.clock()))
        count.finished, count.trials, count.best = finished, trials, best
        count.ended += outcome.state != "failed"
        self._last.appendleft((label, number, outcome))

    def render(self) -> RenderableType:
        """What stands on the screen now."""
        parts: list[RenderableType] = [self._bars()]
        # Copies: this is called from the screen's own thread.
        running, last = list(self._running.items()), list(self._last)
        if running:
            parts.append(_running_table(running))
        if last:
            parts.append(_ended_table(last))
        return Group(*parts)

    def _bars(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for label, count in list(self._counts.items()):
            table.add_row(
                Text(label, style="bold"),
                ProgressBar(total=count.trials, completed=count.finished, width=_BAR, pulse=count.trials is None),
                " · ".join(self._figures(count)),
            )
        return table

    def _figures(self, count: _Count) -> Iterator[str]:
        if count.trials is None:
            yield "starting"
            return
        yield f"{count.finished}/{count.trials}"
        if count.best:
            yield f"best {percent(count.best.skill)} of trial {count.best.number}"
        passed = self.clock() - count.since
        if count.ended and passed > 0:
            yield f"{count.ended / passed * _HOUR:,.0f} trials/h"
            if count.finished < count.trials:
                yield f"{duration((count.trials - count.finished) * passed / count.ended)} left"


@contextmanager
def make_progress(tell: Callable[[str], None] | None = None, console: Console | None = None) -> Iterator[Progress]:
    """A live view where stderr is a terminal, else lines.

    Args:
        tell: takes the lines; stderr if not given.
        console: of stderr if not given.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield Lines(tell or _to_stderr)
        return
    with Screen(console) as screen:
        yield screen


def say_outcome(outcome: Outcome) -> str:
    """How a trial ended, with its skill or its reason."""
    if outcome.state == "complete":
        return f"complete: skill {percent(outcome.values[0])}"
    reached = f", skill {percent(outcome.curve[-1].value)}" if outcome.state == "pruned" and outcome.curve else ""
    return f"{outcome.state}: {outcome.reason}{reached}"


def say_values(values: Mapping[str, Any]) -> str:
    """Drawn values as `cell.hidden_size=41 training.learning_rate=0.0031`."""
    return " ".join(f"{key}={_say(value)}" for key, value in values.items())


def percent(skill: float) -> str:
    """A skill with its sign and two decimals, since skills on prices are small."""
    return f"{100 * skill:+.2f} %"


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    hours, rest = divmod(round(seconds / _MINUTE), 60)
    return f"{hours} h {rest:02d} min"


def _running_table(running: list[tuple[tuple[str, int], _Trial]]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("running", no_wrap=True)
    table.add_column("at", no_wrap=True)
    table.add_column("skill so far", justify="right", no_wrap=True)
    table.add_column("values")
    several = len({label for (label, _), _ in running}) > 1
    for (label, number), trial in running[:_RUNNING]:
        table.add_row(_name(label, number, several), *_reached(trial.point), Text(_short(trial.values)))
    if len(running) > _RUNNING:
        table.add_row(f"and {len(running) - _RUNNING} more")
    return table


def _ended_table(last: list[tuple[str, int, Outcome]]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("ended", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("how")
    several = len({label for label, *_ in last}) > 1
    for label, number, outcome in last:
        how = Text(say_outcome(outcome), style=_STYLE[outcome.state])
        table.add_row(_name(label, number, several), f"{outcome.seconds:.1f} s", how)
    return table


def _name(label: str, number: int, several: bool) -> Text:  # noqa: FBT001 - said by the only two callers
    return Text(f"{label} {number}" if several else f"trial {number}")


def _reached(point: Point | None) -> tuple[str, str]:
    if point is None:
        return "", ""
    fold = f"fold {point.fold + 1}, " if point.fold else ""
    return f"{fold}epoch {point.epoch + 1}", percent(point.value)


def _short(values: Mapping[str, Any]) -> str:
    """As `say_values`, without the section where that says it, too: terminals are narrow."""
    names = [key.rpartition(".")[2] for key in values]
    return say_values(
        {key if names.count(name) > 1 else name: values[key] for key, name in zip(values, names, strict=True)}
    )


def _say(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
