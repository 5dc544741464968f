"""The experiment as a figure: measured lines on their theory, and trained cells over the powers of α."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from carrossel.diagnostics.figures import DASHES, PALETTE, drawable, relative
from carrossel.evaluation.figures import BLACK, GREY, look, new_figure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

_TITLES = {"linear": "linear: every line is its α to the power of k", "tanh": "tanh: the power is a bound"}
_DEEPEST = 1e-6  # of the error at lag 0: below, no trained cell learns anything
_APART = 0.045  # of an axis' height: how far labels keep from one another


@look()
def draw_experiment(
    table: pd.DataFrame, trained: Mapping[str, ArrayLike], shown: Sequence[str] = (), dataset: str = ""
) -> Figure:
    """Gradient by lag of the linear and the tanh network for each α, and of trained cells over the powers of α.

    Args:
        table: from `experiment.run_experiment`.
        trained: D1 by lag from 0 of each trained network; drawn as shares of lag 0.
        shown: which of them are coloured and named; the others are grey.
        dataset: what they were trained on, for the title.
    """
    figure = new_figure(13.5, 4.9)
    left, middle, right = figure.subplots(1, 3)
    for axes, network in ((left, "linear"), (middle, "tanh")):
        _draw_powers(axes, table[table["network"] == network])
        axes.set_title(_TITLES[network])
    heights = [axes.get_ylim() for axes in (left, middle)]
    for axes in (left, middle):
        axes.set_ylim(min(low for low, _ in heights), max(high for _, high in heights))
    left.set_ylabel(r"mean $\|\partial L / \partial h_{T-k}\|$, 1 at lag 0  (log scale)")
    _draw_trained(right, trained, shown, sorted(set(table["alpha"])))
    right.set_title(f"trained cells{f' on {dataset}' if dataset else ''} over the powers of α")
    for axes in (left, middle):
        _label_ends(axes, [(line.get_label(), line.get_ydata(), line.get_color()) for line in axes.lines[::2]])
    figure.supxlabel("lag k: steps back in time", fontsize=10)
    others = Line2D([], [], color=GREY, linewidth=0.9)
    figure.legend(
        [*left.lines[:2], others],
        ["measured", "α to the power of k", "other cells"],
        loc="outside lower left",
        ncols=3,
        fontsize=9,
    )
    return figure


def _draw_powers(axes: Axes, table: pd.DataFrame) -> None:
    axes.set_yscale("log")
    for n, (alpha, rows) in enumerate(table.groupby("alpha")):
        axes.plot(
            rows["lag"], drawable(rows["gradient"]), color=PALETTE[n % len(PALETTE)], linewidth=3.2, alpha=0.65,
            linestyle=DASHES[n // len(PALETTE) % len(DASHES)], label=f"α = {alpha:g}",
        )  # fmt: skip
        axes.plot(rows["lag"], drawable(rows["theory"]), color=BLACK, linewidth=0.9, linestyle=(0, (4, 3)))
    _label_lags(axes, int(table["lag"].max()))


def _draw_trained(axes: Axes, trained: Mapping[str, ArrayLike], shown: Sequence[str], alphas: Iterable[float]) -> None:
    axes.set_yscale("log")
    shares = {name: relative(values) for name, values in trained.items()}
    last = max((len(share) - 1 for share in shares.values()), default=1)
    lowest = min((np.nanmin(share) for share in shares.values() if np.isfinite(share).any()), default=_DEEPEST)
    bottom = max(_DEEPEST, 10 ** np.floor(np.log10(lowest)))
    top = max([3.0, *(3 * np.nanmax(share) for share in shares.values() if np.isfinite(share).any())])
    for alpha in alphas:
        if alpha <= 1:  # above, the line leaves the panel in a few steps
            _draw_guide(axes, alpha, last, bottom)
    for name, share in shares.items():
        if name not in shown:
            axes.plot(share, color=GREY, linewidth=0.9, alpha=0.6)
    named = [name for name in shown if name in shares]
    for n, name in enumerate(named):
        axes.plot(shares[name], color=PALETTE[n % len(PALETTE)], linewidth=2.2, label=name)
    axes.set_ylim(bottom, top)
    _label_lags(axes, last)
    _label_ends(axes, [(name, shares[name], PALETTE[n % len(PALETTE)]) for n, name in enumerate(named)])
    axes.set_ylabel("share of the gradient at lag 0  (log scale)")
    if not shares:
        axes.text(0.5, 0.5, "no trained cells yet", transform=axes.transAxes, ha="center", color=GREY)


def _draw_guide(axes: Axes, alpha: float, last: int, bottom: float) -> None:
    end = last if alpha == 1 else min(last, np.log(bottom) / np.log(alpha))
    lags = np.linspace(0, end, 60)
    axes.plot(lags, alpha**lags, color=BLACK, linewidth=0.9, linestyle=(0, (4, 3)))
    leaves = end < last
    at, offset, anchor = (end, (-5, 6), "right") if leaves else (0.5 * end, (0, 4), "left")
    axes.annotate(
        f"$\\alpha^k$, α = {alpha:g}", (at, alpha**at), xytext=offset, textcoords="offset points", fontsize=8,
        ha=anchor, va="bottom", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
    )  # fmt: skip


def _label_lags(axes: Axes, last: int) -> None:
    axes.set_xlim(0, last)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(LogLocator(numticks=9))


def _label_ends(axes: Axes, lines: Sequence[tuple[object, ArrayLike, object]]) -> None:
    """Each line's name at its right end, moved apart where ends lie close together."""
    low, high = np.log(axes.get_ylim())
    ends = []
    for name, values, color in lines:
        finite = np.asarray(values, dtype=np.float64)
        finite = finite[np.isfinite(finite)]
        height = (np.log(finite[-1]) - low) / (high - low) if len(finite) else 0.0
        ends.append((float(np.clip(height, 0, 1)), str(name), color))
    place = -1.0
    for height, name, color in sorted(ends, key=lambda end: end[:2]):
        place = max(height, place + _APART)
        axes.annotate(
            name, (1, place), xycoords="axes fraction", xytext=(4, 0), textcoords="offset points", fontsize=9,
            va="center", color=color, annotation_clip=False,
        )  # fmt: skip
