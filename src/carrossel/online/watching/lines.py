"""Events as lines: for people, or as JSON for machines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from carrossel.online.watching.loop import Event


def as_json(event: Event) -> str:
    """One JSON object."""
    return json.dumps(event, allow_nan=False)


def as_line(event: Event) -> str | None:
    """A line for people; None for what they needn't read."""
    show = _SHOWN.get(event["event"])
    return None if show is None else f"{event['dataset']}: {show(event)}"


def minute(stamp: str) -> str:
    """A time as people write it, UTC."""
    return stamp[:16].replace("T", " ")


def number(value: float | None) -> str:
    """Six digits that say something."""
    return "–" if value is None else f"{value:,.6g}"


def percent(value: float | None) -> str:
    """With one decimal."""
    return "–" if value is None else f"{value:.1%}"


def interval(event: Event) -> str:
    """The ends, or nothing."""
    return "" if event["lower"] is None else f" [{number(event['lower'])} … {number(event['upper'])}]"


def _prediction(event: Event) -> str:
    late = ", late" if event["late"] else ""
    who = event["reason"] if event["model"] == "persistence" else f"version {event['model']}"
    return f"{minute(event['time'])} will be {number(event['forecast'])}{interval(event)} ({who}{late})"


def _score(event: Event) -> str:
    running = event["running"]
    held = {None: "", True: ", within its interval", False: ", outside of its interval"}[event["covered"]]
    return (
        f"forecast from {minute(event['origin'])}: it became {number(event['truth'])}{held}; skill {percent(running['skill'])}, "
        f"coverage {percent(running['coverage'])} (n = {running['n']})"
    )


def _bar(event: Event) -> str:
    status = "" if event["status"] == "observed" else f" ({event['status']})"
    return f"{minute(event['time'])} closed at {number(event['close'])}{status}"


_SHOWN: dict[str, Callable[[dict[str, Any]], str]] = {
    "start": lambda event: event["reason"],
    "bar": _bar,
    "prediction": _prediction,
    "score": _score,
    "drift": lambda event: f"drift of {', '.join(event['streams'])}",
    "champion": lambda event: event["reason"],
    "retrain": lambda event: f"retraining {event['state']}: {event['reason']}",
    "trouble": lambda event: f"{event['reason']} It is tried again.",
    "recovered": lambda event: event["reason"],
    "end": lambda event: event["reason"],
}
