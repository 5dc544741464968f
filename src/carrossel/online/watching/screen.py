"""The loop on a terminal: bars and forecasts, running figures, who serves, what happened."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Self

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from carrossel.online.watching.lines import as_line, minute, number, percent

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, RenderableType

    from carrossel.online.watching.loop import Event

_BARS, _EVENTS = 14, 6
_ROWS = ("bar", "prediction", "score")


class Screen:
    """A live view; a context manager.

    Args:
        console: where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._bars: deque[Event] = deque(maxlen=_BARS)
        self._forecasts: dict[str, Event] = {}
        self._came: dict[str, Event] = {}
        self._running: Event = {"n": 0, "skill": None, "coverage": None}
        self._events: deque[str] = deque(maxlen=_EVENTS)
        self._champion, self._drift = "–", "none"
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self.render)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def tell(self, event: Event) -> None:
        """Take an event in; the screen is drawn by its own clock."""
        name = event["event"]
        if name == "bar":
            self._bars.append(event)
        elif name == "prediction":
            self._forecasts[event["time"]] = event  # of several horizons the nearest stays, which is told last
            if len(self._forecasts) > 4 * _BARS:
                oldest = min(self._forecasts)
                del self._forecasts[oldest]
                self._came.pop(oldest, None)
        elif name == "score":
            self._running = event["running"]
            for made in self._forecasts.values():
                if (made["origin"], made["horizon"]) == (event["origin"], event["horizon"]):
                    self._came[made["time"]] = event
        elif name == "champion":
            self._champion = event["reason"]
        elif name == "drift":
            self._drift = f"{', '.join(event['streams'])} at {minute(event['time'])}"
        line = None if name in _ROWS else as_line(event)
        if line is not None:
            self._events.append(line)

    def render(self) -> RenderableType:
        """What stands on the screen now."""
        table = Table(expand=True, title="bars and what was forecast of them (UTC)")
        for column in ("bar", "close", "forecast", "lower", "upper", "error", "held", "by"):
            table.add_column(column, justify="left" if column in ("bar", "by") else "right", no_wrap=True)
        bars = {bar["time"]: bar for bar in self._bars}
        coming = [time for time in self._forecasts if not bars or time > max(bars)]
        for time in [*bars, *sorted(coming)]:
            table.add_row(*self._row(time, bars.get(time)))
        running = self._running
        figures = Text(
            f"skill against 'tomorrow = today' {percent(running['skill'])}   coverage of 90 % intervals "
            f"{percent(running['coverage'])}   n = {running['n']}\nserves: {self._champion}\nlast drift: {self._drift}"
        )
        return Group(table, Panel(figures, title="running"), Panel(Text("\n".join(self._events)), title="last events"))

    def _row(self, time: str, bar: Event | None) -> list[str]:
        made = self._forecasts.get(time)
        close = number(bar["close"]) if bar is not None else ""
        if made is None:
            return [minute(time), close, "", "", "", "", "", ""]
        told = [number(made[name]) for name in ("forecast", "lower", "upper")]
        came = self._came.get(time)
        if came is None:
            return [minute(time), close, *told, "", "", made["model"]]
        held = {None: "", True: "yes", False: "no"}[came["covered"]]
        return [minute(time), close, *told, number(came["truth"] - made["forecast"]), held, made["model"]]
