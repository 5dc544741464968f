"""Where a key's values lie on an axis, and what stands beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution

from carrossel.tuning.config import LIST_SEPARATOR
from carrossel.tuning.report.tables import format_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution

_FEW = 6  # choices whose names find room on an axis
_LONG = 18  # letters


def locate(space: BaseDistribution, values: Sequence[Any]) -> NDArray[np.float64]:
    """Values as numbers on the scale they are drawn on: logarithms of logarithmic ones, places among choices."""
    if isinstance(space, CategoricalDistribution):
        return np.asarray([space.choices.index(value) for value in values], dtype=np.float64)
    numbers = np.asarray(values, dtype=np.float64)
    return np.log10(numbers) if getattr(space, "log", False) else numbers


def spread(places: NDArray[np.float64], space: BaseDistribution) -> NDArray[np.float64]:
    """Trials of one choice beside one another, evenly and not at random."""
    if not isinstance(space, CategoricalDistribution):
        return places
    moved = places.copy()
    for place in np.unique(places):
        (same,) = np.nonzero(places == place)
        moved[same] += 0.44 * ((0.5 + 0.618034 * np.arange(len(same))) % 1 - 0.5)
    return moved


def allows(space: BaseDistribution, value: Any) -> bool:
    """Whether a default has a place on the key's axis."""
    if isinstance(space, CategoricalDistribution):
        return value in space.choices
    return isinstance(value, int | float) and bool(space.low <= value <= space.high)  # type: ignore[attr-defined]


def ends(space: BaseDistribution) -> tuple[float, float]:
    if isinstance(space, CategoricalDistribution):
        return -0.5, len(space.choices) - 0.5
    low, high = locate(space, [space.low, space.high])  # type: ignore[attr-defined]
    return float(low), float(high)


def label_axis(axes: Axes, space: BaseDistribution, *, up: bool = False) -> None:
    """Limits and ticks of an axis of places."""
    low, high = ends(space)
    margin = 0 if isinstance(space, CategoricalDistribution) else 0.04 * (high - low) or 0.5
    axis = axes.yaxis if up else axes.xaxis
    (axes.set_ylim if up else axes.set_xlim)(low - margin, high + margin)
    if isinstance(space, CategoricalDistribution):
        names = [_short(choice, lines=True) for choice in space.choices]
        axis.set_ticks(range(len(names)), names, fontsize=8)
    elif space.single():
        axis.set_ticks([low], [format_value(space.low)], fontsize=8)  # type: ignore[attr-defined]
    elif getattr(space, "log", False):
        ticks = _log_ticks(low, high)
        axis.set_ticks(np.log10(ticks), [format_value(tick) for tick in ticks], fontsize=8)
    else:
        axis.set_major_locator(MaxNLocator(4, integer=space.__class__.__name__ == "IntDistribution"))
        axis.set_tick_params(labelsize=8)


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two logarithms: 1, 2, 5 where there are few decades."""
    subs = (1.0, 2.0, 5.0) if high - low < 1.6 else (1.0, 3.0) if high - low < 3 else (1.0,)  # noqa: PLR2004 - decades
    candidates = [sub * 10.0**decade for decade in range(math.floor(low), math.ceil(high) + 1) for sub in subs]
    inside = [float(f"{tick:.6g}") for tick in candidates if low - 1e-9 <= math.log10(tick) <= high + 1e-9]
    return inside or [float(f"{10**low:.3g}"), float(f"{10**high:.3g}")]


def _short(choice: Any, *, lines: bool = False) -> str:
    """A choice's name; of long lists their length."""
    text = str(choice)
    if LIST_SEPARATOR in text:
        names = text.split(LIST_SEPARATOR)
        return "\n".join(names) if lines and len(names) <= 3 else f"{names[0]}\n+ {len(names) - 1} more"  # noqa: PLR2004
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def relative(space: BaseDistribution, values: Sequence[Any], undrawn: float) -> NDArray[np.float64]:
    """Values from 0 to 1 along their axis; `undrawn` for None."""
    low, high = _column_ends(space)
    span = high - low
    return np.asarray([undrawn if v is None else (locate(space, [v])[0] - low) / span if span else 0.5 for v in values])


def _column_ends(space: BaseDistribution) -> tuple[float, float]:
    return (0.0, len(space.choices) - 1.0) if isinstance(space, CategoricalDistribution) else ends(space)


def column_ticks(space: BaseDistribution) -> list[tuple[float, str]]:
    low, high = _column_ends(space)
    if isinstance(space, CategoricalDistribution):
        shown = range(len(space.choices)) if len(space.choices) <= _FEW else (0, len(space.choices) - 1)
        return [(n / (high or 1) if high else 0.5, _short(space.choices[n])) for n in shown]
    if space.single():
        return [(0.5, format_value(space.low))]  # type: ignore[attr-defined]
    outer = [(0.0, format_value(space.low)), (1.0, format_value(space.high))]  # type: ignore[attr-defined]
    if getattr(space, "log", False):
        between = [(float((np.log10(t) - low) / (high - low)), format_value(t)) for t in _log_ticks(low, high)]
    else:
        between = [
            (float((t - low) / (high - low)), format_value(float(t))) for t in MaxNLocator(4).tick_values(low, high)
        ]
    return [*outer, *[(height, text) for height, text in between if 0.1 < height < 0.9]]  # noqa: PLR2004 - clear of the ends
