"""Figures in the manner of Greff et al. (2015), figures 3 to 5, and the strongest interplay of two keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator, PercentFormatter

from carrossel.evaluation.figures import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILLION, look, new_figure
from carrossel.tuning.odyssey.statistics import FEWEST, best_tenth, complete, order_cells
from carrossel.tuning.odyssey.words import foretells, say_key
from carrossel.tuning.variance import CELL

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from carrossel.tuning.odyssey.statistics import Comparison
    from carrossel.tuning.variance import Axis, Explained

_PALE = "#D9D9D9"
_SINGLES = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", VERMILLION, "#F0E442")
_PAIRS, _REST = "#7A7A7A", _PALE
_LOWEST = 0.1  # share of trials that a skill axis may leave out below: one diverged trial would flatten all others
_POINTS = 60


def draw_distributions(trials: pd.DataFrame, comparison: Comparison | None, reference: str) -> Figure:
    """Figure 3: skill of the best tenth and of all trials of each cell, and how large the best tenth's networks are.

    Args:
        trials: of every cell.
        comparison: colours cells that differ significantly from the reference; None if nothing was tested.
        reference: the cell that others are compared with.
    """
    names = order_cells(trials)
    own = {cell: complete(trials[trials["cell"] == cell]) for cell in names}
    with look():
        figure = new_figure(max(7.5, 1.9 + 0.95 * len(names)), 7.6)
        tops, alls, sizes = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.3))
        sizes.set_xlim(-0.6, len(names) - 0.4)
        for axes, chosen, of in (
            (tops, {cell: best_tenth(frame) for cell, frame in own.items()}, "best tenth"),
            (alls, own, "all trials"),
        ):
            tested = comparison if comparison is not None and comparison.of == of else None
            _draw_boxes(axes, [chosen[cell]["skill"].to_numpy() for cell in names], _colours(names, tested, reference))
            axes.set_ylabel("validation skill")
            axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        count = max(len(best_tenth(frame)) for frame in own.values())
        tops.set_title(f"the best tenth: {count} of each cell, line: their median")
        _cut_low(alls, np.concatenate([frame["skill"].to_numpy() for frame in own.values()]))
        alls.set_title("all trials" + (", lowest tenth below the edge" if alls.get_ylim()[0] > _least(own) else ""))
        sizes.bar(
            range(len(names)),
            [best_tenth(frame)["parameters"].median() / 1000 for frame in own.values()],
            width=0.5,
            color=GREY,
        )
        sizes.set_title("size of the best tenth's networks, median")
        sizes.set_ylabel("thousand\nparameters")
        sizes.set_xticks(range(len(names)), names, rotation=25, ha="right")
        for axes in (tops, alls, sizes):
            axes.grid(visible=False, axis="x")
        handles = [Patch(facecolor="white", edgecolor=BLACK, linewidth=2, label=f"{reference}: the reference")]
        if comparison is not None:
            handles += [
                Patch(facecolor=BLUE, alpha=0.55, label="differs significantly from it"),
                Patch(facecolor=_PALE, label="doesn't, or not tested"),
            ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def draw_marginals(trials: pd.DataFrame, explained: Sequence[Explained], axes: Sequence[Axis]) -> Figure | None:
    """Figure 4: skill along each key, the mean over all others, and its spread over trees, for each cell and for all.

    Args:
        trials: drawn as points.
        explained: of cells, in the order of rows; of all cells first.
        axes: the keys, in the order of columns.
    """
    if not explained or not axes:
        return None
    shown = complete(trials)
    with look():
        figure = new_figure(1.6 + 2.6 * len(axes), 0.9 + 1.35 * len(explained))
        panels = figure.subplots(len(explained), len(axes), sharey=True, sharex="col", squeeze=False)
        for row, found in zip(panels, explained, strict=True):
            own = shown if found.cell is None else shown[shown["cell"] == found.cell]
            for panel, axis in zip(row, axes, strict=True):
                _draw_marginal(panel, own, found, axis)
            row[0].set_ylabel(found.cell or "all cells", rotation=0, ha="right", va="center", fontweight="bold")
        for panel, axis in zip(panels[-1], axes, strict=True):
            panel.set_xlabel(say_key(axis.key))
        _cut_low(panels[0, 0], shown["skill"].to_numpy())
        panels[0, 0].yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        figure.legend(
            handles=[
                Line2D([], [], color=BLUE, label="predicted validation skill, mean over everything else"),
                Patch(facecolor=BLUE, alpha=0.25, label="± a deviation over trees"),
                Line2D([], [], linestyle="", marker="o", markersize=3, color=GREY, label="a trial"),
            ],
            loc="outside lower center",
            ncols=3,
        )
    return figure


def draw_shares(explained: Sequence[Explained], axes: Sequence[Axis]) -> Figure | None:
    """Figure 5: what explains the variance of skill, a bar per cell.

    Args:
        explained: of cells, in the order of bars; of all cells first.
        axes: the keys, in the order of colours.
    """
    if not explained:
        return None
    keys = [axis.key for axis in axes]
    with look():
        figure = new_figure(9.5, 1.5 + 0.42 * len(explained))
        panel = figure.subplots()
        for place, found in enumerate(explained):
            left = 0.0
            single = {share.keys[0]: share.share for share in found.singles}
            parts = [
                (single.get(key, 0.0), colour)
                for key, colour in zip([CELL, *keys], (BLACK, *_colour(keys)), strict=True)
            ]
            parts += [(sum(share.share for share in found.pairs), _PAIRS), (found.of().share, _REST)]
            for share, colour in parts:
                panel.barh(
                    place,
                    share,
                    left=left,
                    color=colour,
                    alpha=1 if foretells(found) else 0.35,
                    height=0.7,
                    edgecolor="white",
                    linewidth=0.6,
                )
                if share >= 0.06:  # noqa: PLR2004 - narrower ones hold no number
                    dark = foretells(found) and colour in {BLACK, BLUE, _PAIRS, GREEN, VERMILLION}
                    text = "white" if dark else BLACK
                    panel.text(
                        left + share / 2, place, f"{100 * share:.0f}", ha="center", va="center", color=text, fontsize=9
                    )
                left += share
            panel.text(1.01, place, f"{found.trust:.2f}".replace("-", "−"), va="center")
        panel.text(1.01, -0.75, "R²", va="bottom")
        panel.set_yticks(range(len(explained)), [found.cell or "all cells" for found in explained])
        panel.invert_yaxis()
        panel.set_xlim(0, 1)
        panel.set_xlabel("share of the variance of skill over the whole space, per cent")
        panel.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        panel.grid(visible=False)
        named = [("cell", BLACK)] if any(map(_has_cell, explained)) else []
        named += list(zip(map(say_key, keys), _colour(keys), strict=True))
        handles = [
            Patch(facecolor=colour, label=name)
            for name, colour in [*named, ("pairs", _PAIRS), ("three and more", _REST)]
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def draw_interplay(trials: pd.DataFrame, found: Explained, axes: Sequence[Axis]) -> Figure | None:
    """Predicted skill over the two keys whose interplay explains most, the mean over everything else.

    Args:
        trials: drawn as points.
        found: of one cell, or of all.
        axes: the keys.
    """
    known = {axis.key: axis for axis in axes}
    pair = next((share for share in found.pairs if set(share.keys) <= set(known)), None)
    if pair is None:
        return None
    # Numbers lie across: choices make few rows.
    across, up = sorted((known[key] for key in pair.keys), key=lambda axis: len(axis.choices))
    predicted = found.forest.marginal(across.key, up.key, count=_POINTS).mean(axis=0).T
    shown = complete(trials)
    shown = shown if found.cell is None else shown[shown["cell"] == found.cell]
    with look():
        figure = new_figure(7.2, 4.8)
        panel = figure.subplots()
        image = panel.imshow(
            predicted, origin="lower", aspect="auto", extent=(*_extent(across), *_extent(up)), cmap="cividis"
        )
        panel.scatter(
            _place(across, shown[across.key].tolist()),
            _place(up, shown[up.key].tolist()),
            s=14,
            facecolor="white",
            edgecolor=BLACK,
            linewidth=0.8,
            label="a trial",
        )
        for axis, put, ticks, name in (
            (across, panel.set_xticks, panel.xaxis, panel.set_xlabel),
            (up, panel.set_yticks, panel.yaxis, panel.set_ylabel),
        ):
            places, labels = _ticks(axis)
            put(places, labels)
            ticks.set_minor_locator(NullLocator())
            name(say_key(axis.key))
        panel.grid(visible=False)
        scale = figure.colorbar(image, ax=panel, label="predicted validation skill, mean over everything else")
        scale.ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        panel.set_title(f"{say_key(across.key)} × {say_key(up.key)}, {found.cell or 'all cells'} (circles: trials)")
    return figure


def _draw_boxes(axes: Axes, samples: Sequence[NDArray[np.float64]], colours: Sequence[tuple[str, float]]) -> None:
    for place, (sample, (colour, width)) in enumerate(zip(samples, colours, strict=True)):
        if len(sample) >= FEWEST:  # of fewer there are no quartiles to speak of
            drawn = axes.boxplot(
                [sample],
                positions=[place],
                widths=0.5,
                patch_artist=True,
                showfliers=False,
                medianprops={"color": BLACK, "linewidth": 1.6},
            )
            drawn["boxes"][0].set(facecolor=colour, linewidth=width)
        else:
            axes.hlines(float(np.median(sample)), place - 0.25, place + 0.25, color=BLACK, linewidth=1.6)
        # Beside one another, in the order in which they came: the same picture for the same trials.
        beside = place + 0.16 * np.sin(2.4 * np.arange(len(sample)))
        axes.plot(beside, sample, linestyle="", marker="o", markersize=3, color=BLACK, alpha=0.5)


def _colours(names: Sequence[str], tested: Comparison | None, reference: str) -> list[tuple[str, float]]:
    """Face and width of the edge of each cell's box."""
    found = []
    for cell in names:
        p = tested.p_against(cell) if tested else None
        differs = (
            tested is not None and p is not None and any(pair.first == cell and pair.differ for pair in tested.against)
        )
        found.append(("white", 2.0) if cell == reference else ("#8FBFDD" if differs else _PALE, 1.0))
    return found


def _draw_marginal(panel: Axes, own: pd.DataFrame, found: Explained, axis: Axis) -> None:
    curves = found.forest.marginal(axis.key, count=_POINTS)
    mean, spread = curves.mean(axis=0), curves.std(axis=0)
    panel.plot(
        _place(axis, own[axis.key].tolist()),
        own["skill"],
        linestyle="",
        marker="o",
        markersize=2.2,
        color=GREY,
        alpha=0.6,
    )
    if axis.choices:
        places = np.arange(len(axis.choices))
        panel.errorbar(
            places, mean, spread, color=BLUE, marker="s", markersize=4, linestyle="", capsize=4, elinewidth=1.6
        )
        panel.set_xlim(*_extent(axis))
    else:
        points = np.linspace(*_extent(axis), _POINTS)
        panel.fill_between(points, mean - spread, mean + spread, color=BLUE, alpha=0.25, linewidth=0)
        panel.plot(points, mean, color=BLUE, linewidth=1.6)
        panel.set_xlim(*_extent(axis))
    panel.set_xticks(*_ticks(axis))
    panel.xaxis.set_minor_locator(NullLocator())


def _place(axis: Axis, values: Sequence[object]) -> NDArray[np.float64]:
    """Where drawn values lie on a panel: on the scale they were drawn on, or by the number of the choice."""
    if axis.choices:
        return np.asarray([axis.choices.index(value) for value in values], dtype=np.float64)
    return axis.encode(values)[:, 0]


def _extent(axis: Axis) -> tuple[float, float]:
    if axis.low is None or axis.high is None:
        return -0.5, len(axis.choices) - 0.5
    return axis.low, axis.high


def _ticks(axis: Axis) -> tuple[list[float], list[str]]:
    """Round values on the key's own scale, at their places."""
    if axis.low is None or axis.high is None:
        return list(map(float, range(len(axis.choices)))), [str(choice) for choice in axis.choices]
    low, high = axis.decode(np.asarray([axis.low, axis.high]))
    if axis.log:
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        candidates = np.outer(decades, (1, 2, 5)).ravel() if high / low < 50 else decades  # noqa: PLR2004 - panels are narrow
        rounded = [float(value) for value in candidates if low <= value <= high]
        return [float(np.log(value)) for value in rounded], [f"{value:g}" for value in rounded]
    rounded = [float(value) for value in np.linspace(low, high, 5)]
    return rounded, [f"{value:.3g}" for value in rounded]


def _cut_low(axes: Axes, skill: NDArray[np.float64]) -> None:
    """Leave out the lowest tenth where it would flatten all else."""
    low, high = float(np.quantile(skill, _LOWEST)), float(skill.max())
    margin = 0.06 * max(high - low, 1e-6)
    least = float(skill.min())
    axes.set_ylim((least if high - least < 2 * (high - low) else low) - margin, high + margin)


def _least(own: dict[str, pd.DataFrame]) -> float:
    return min(float(frame["skill"].min()) for frame in own.values())


def _colour(keys: Sequence[str]) -> list[str]:
    return [_SINGLES[place % len(_SINGLES)] for place in range(len(keys))]


def _has_cell(found: Explained) -> bool:
    return any(share.keys == (CELL,) for share in found.shares)
