"""What the figures of the cell lab show, as plain sentences made from their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrossel.diagnostics.curves import REACH
from carrossel.evaluation.comparison.formats import percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carrossel.evaluation.comparison.lab.memories import Memory

_MOST_NAMES = 3
_RARELY = 0.05


def tell_gradient(memories: Mapping[str, Memory]) -> str:
    """D1: whose gradient has halved first and last, and how many reach the window's first bar."""
    measured = {name: memory for name, memory in memories.items() if len(memory.gradient)}
    if not measured:
        return "Not measured: training.diagnose_every was 0."
    halves = {name: memory.gradient_half for name, memory in measured.items()}
    lags = max(len(memory.gradient) for memory in measured.values())
    known = {name: half for name, half in halves.items() if half is not None}
    lasting = [name for name, half in halves.items() if half is None]
    parts = []
    if known:
        first, last = (choose(known, key=lambda name: known[name]) for choose in (min, max))
        parts.append(f"{first}'s gradient has halved after {bars(known[first])}")
        if last != first:
            parts[0] += f"; {last}'s after {bars(known[last])}"
    if lasting:
        parts.append(f"within the window {_join(lasting)}'s gradient never halves")
    told = "; ".join(parts)
    reaching = sum(memory.reach == len(memory.gradient) for memory in measured.values())
    networks = f"{len(measured)} {'network' if len(measured) == 1 else 'networks'}"
    return (
        f"{told if known else told[0].upper() + told[1:]}. Of {networks} {reaching or 'none'} "
        f"{'have' if reaching > 1 else 'has'} more than {percent(REACH, 1)} left at lag {lags - 1}, the window's first bar."
    )


def tell_kept(memories: Mapping[str, Memory]) -> str | None:
    """D8 beside D1: which part of the way is the gates' own; None where no cell keeps anything, or nothing was measured."""
    kept = {name: memory for name, memory in memories.items() if len(memory.kept) and len(memory.gradient)}
    halves = {name: memory.kept_half for name, memory in kept.items() if memory.kept_half is not None}
    if not halves:
        return None
    shortest, longest = (choose(halves, key=lambda name: halves[name] or 0.0) for choose in (min, max))
    sentence = f"By its gates alone {longest} keeps half of what it holds for {bars(halves[longest] or 0.0)}"
    if shortest != longest:
        sentence += f", {shortest} for {bars(halves[shortest] or 0.0)}"
    half = kept[longest].gradient_half
    if half is None:
        return f"{sentence}; {longest}'s gradient doesn't halve at all, so detours through h carry it."
    if half <= (halves[longest] or 0.0):
        detour = "not even all of that returns"
    elif kept[longest].radius is None:
        detour = "no gate sees h, so the units that keep longest make up most of it"
    else:
        detour = "detours through h carry some of it further"
    return f"{sentence}; {longest}'s gradient halves after {bars(half)}: {detour}."


def tell_sensitivity(memories: Mapping[str, Memory]) -> str | None:
    """D2: whose forecast listens to the shortest and the longest stretch; None where nothing was measured."""
    found = {name: memory.listens for name, memory in memories.items() if memory.listens is not None}
    if not found:
        return None
    lags = max(len(memory.sensitivity) for memory in memories.values())
    shortest, longest = (choose(found, key=lambda name: found[name] or 0) for choose in (min, max))
    sentence = f"90 % of what moves {shortest}'s forecast lies in the last {bars(found[shortest] or 0, whole=True)}"
    if shortest != longest:
        sentence += f"; {longest}'s takes {found[longest]}"
    return f"{sentence}, of {lags} in the window."


def tell_gates(memories: Mapping[str, Memory]) -> str | None:
    """D6: the gate that is open most often, and the one that is shut most often; None where nothing was measured."""
    gates = {(name, gate): shares for name, memory in memories.items() for gate, shares in (memory.gates or {}).items()}
    if not gates:
        return None
    shut, opened = (max(gates, key=lambda key: gates[key][side]) for side in (0, 1))
    most_shut, most_open = gates[shut][0], gates[opened][1]
    if max(most_shut, most_open) < _RARELY:
        return (
            f"No gate acts as a switch: none is shut in more than {percent(most_shut, 1)} of cases or open in more than "
            f"{percent(most_open, 1)}."
        )
    return (
        f"Open most often is {opened[0]}'s {opened[1]} gate: above 0.9 in {percent(most_open, 1)} of cases. Shut most often is "
        f"{shut[0]}'s {shut[1]} gate: below 0.1 in {percent(most_shut, 1)}."
    )


def bars(number: float, *, whole: bool = False) -> str:
    """`1 bar`, `1.3 bars`, `14 bars`: two digits are what such a number is worth."""
    text = f"{number:.0f}" if whole or number >= 9.95 else f"{number:.1f}"  # noqa: PLR2004  # two digits
    return f"{text} {'bar' if text == '1' else 'bars'}"


def _join(names: Sequence[str]) -> str:
    shown = list(names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        shown.append(f"{len(names) - _MOST_NAMES} others")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
