"""The interactive page: one file, every unit, every window of the test part that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from carrossel.lab.units.figures import liveliest
from carrossel.lab.units.offline import pack, render_page
from carrossel.lab.units.quantities import QUANTITIES
from carrossel.lab.units.ranking import sign, spread_ranking, summarise_ranking
from carrossel.lab.units.readout import gained_bits, likeliest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from carrossel.lab.units.ranking import Summary
    from carrossel.lab.units.study import Study

    Values = NDArray[np.float64]

_SPAN = 240  # bars that are shown first
_BUDGET = 1_900_000  # bytes of numbers; in base64 with the rest the page stays below 3 MB
_TITLES = {
    "return": ("return", "of the window: ln(close of its last bar / close of its first)"),
    "volatility": ("volatility", "standard deviation of the log returns within the window"),
    "drawdown": ("drawdown", "how far the last close lies below the window's highest"),
    "time_since_maximum": ("time since the maximum", "bars since the window's highest close"),
}


def render_units(study: Study) -> str:
    """The whole page as HTML; the same for the same study."""
    windows, units = study.inside.memory.shape
    count = max(min(windows, _BUDGET // (units * (2 + len(study.inside.gates)) + 40)), 1)
    summaries = summarise_ranking(study.ranking)
    return render_page(
        "carrossel.lab.units",
        "page",
        _gather(study, slice(windows - count, windows), most_telling(summaries)),
        study=study,
        windows=windows,
        shown=count,
        units=units,
        lookback=study.recipe.windows.lookback,
        verdict=tell_skill(study.skill, gained_bits(study.inside.chances, study.came)),
        quantities=[
            {
                "title": _TITLES[each.quantity][0],
                "meaning": _TITLES[each.quantity][1],
                "unit": each.unit,
                "correlation": sign(each.correlation),
                "control": f"{each.control:.2f}",
                "beyond": each.beyond,
                "plot": f"{each.quantity}.png",
            }
            for each in summaries
        ],
        rows=_tabulate(study.ranking),
    )


def tell_skill(skill: float, bits: float) -> str:
    """In a line or two, what the network knows about the next move.

    Args:
        skill: of its point forecast, on the validation part.
        bits: what its probabilities are worth on the test part, see `gained_bits`.
    """
    percent = f"{100 * skill:+.2f} %".replace("-", "−")
    gain = f"{bits:+.2f}".replace("-", "−")
    if skill <= 0:
        found = f"This network has no skill in naming the next move: {percent} against “tomorrow = today” on the validation part."
    else:
        found = (
            f"Skill in naming the next move: {percent} against “tomorrow = today” on the validation part, by which its epoch "
            "was chosen; whether that is luck, only the report's tests on unseen data say."
        )
    return (
        f"{found} Its probabilities are worth {gain} bits per bar on the test part against giving every bin the same: "
        + ("they tell something of how far the price will move." if bits > 0 else "they tell nothing either.")
    )


def _gather(study: Study, shown: slice, first: Summary) -> dict[str, Any]:
    inside = study.inside
    chances = inside.chances[shown]
    best = likeliest(chances)
    limits = np.iinfo(np.int16)
    memory = np.clip(np.rint(1000 * inside.memory[shown]), limits.min, limits.max)
    return {
        "symbol": study.symbol,
        "squashed": study.has_memory,
        "first": first.unit,
        "start": liveliest(study.signal[shown, first.unit], _SPAN).start,
        "span": _SPAN,
        "sorted": list(QUANTITIES).index(first.quantity),
        "units": memory.shape[1],
        "intraday": len(study.timestamps) > 1 and bool(np.diff(study.timestamps).min() < np.timedelta64(24, "h")),
        "times": study.timestamps[shown].astype("datetime64[s]").astype(np.int64).tolist(),
        "joined": pack(np.diff(study.rows[shown], prepend=-1) == 1, "u1"),
        "closes": [float(f"{close:.8g}") for close in study.closes[shown]],
        "memory": pack(memory.T, "<i2"),
        "gates": [
            {"name": name.replace("_", " "), "values": pack(np.rint(255 * values[shown]).T, "u1")}
            for name, values in inside.gates.items()
        ],
        "moves": [float(f"{move:.4g}") for move in study.moves],
        "likeliest": pack(best, "u1"),
        "chances": pack(np.rint(10_000 * np.take_along_axis(chances, best, axis=1)), "<u2"),
        "kept": best.shape[1],
        "came": pack(study.came[shown], "u1"),
    }


def _tabulate(ranking: pd.DataFrame) -> list[list[tuple[str, str, float]]]:
    """Per unit and quantity: correlation and control as text, and the size that the table is sorted by."""
    pairs = np.stack([spread_ranking(ranking, "correlation"), spread_ranking(ranking, "control")], axis=-1)
    return [
        [(sign(found), sign(control), -1.0 if np.isnan(found) else abs(float(found))) for found, control in row]
        for row in pairs
    ]


def most_telling(summaries: Sequence[Summary]) -> Summary:
    """The quantity whose closest follower is furthest beyond the control."""
    return max(summaries, key=lambda each: abs(np.nan_to_num(each.correlation)) - each.control)
