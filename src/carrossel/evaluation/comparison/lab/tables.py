"""The cell lab's table: a row per network, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrossel.evaluation.comparison.formats import DASH, number, percent
from carrossel.evaluation.comparison.lab.sentences import bars

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carrossel.evaluation.comparison.lab.memories import Memory


def order_by_memory(memories: Mapping[str, Memory]) -> list[str]:
    """Names, the longest memory first: by the bars that the gradient reaches, then by when it has halved."""

    def length(name: str) -> tuple[float, float]:
        reach, half = memories[name].reach, memories[name].gradient_half
        return -(reach or 0), -(float("inf") if half is None and reach else half or 0)

    return sorted(memories, key=lambda name: (*length(name), name))


def tabulate_memories(memories: Mapping[str, Memory]) -> list[dict[str, str]]:
    """Rows of the table, the longest memory first.

    Returns:
        name, reach, gradient_half, kept_half, listens, shut, open and radius; a dash for what a cell hasn't or nobody
        measured.
    """
    return [
        {
            "name": name,
            "reach": DASH if memory.reach is None else str(memory.reach),
            "gradient_half": _tell_half(memory.gradient_half, measured=len(memory.gradient)),
            "kept_half": _tell_half(memory.kept_half, measured=len(memory.kept)),
            "listens": DASH if memory.listens is None else str(memory.listens),
            "shut": percent(memory.shut, 1),
            "open": percent(memory.open, 1),
            "radius": number(memory.radius, 2),
        }
        for name, memory in ((name, memories[name]) for name in order_by_memory(memories))
    ]


def _tell_half(half: float | None, measured: int) -> str:
    """Bars without the word; `never` for what doesn't halve within the window."""
    if half is None:
        return "never" if measured else DASH
    return bars(half).split()[0]
