"""Plots of what `quantities` measures, from plain arrays, without global matplotlib state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

# Okabe & Ito (2008), Color universal design: colour-blind readers tell them apart. Without yellow, too pale for lines.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("solid", "dashed", "dotted", "dashdot")
FLOOR = (
    1e-30  # a logarithmic axis has no zero; gradients below are drawn as gaps, far beyond anything that can be learnt
)


def gradient_by_lag(
    curves: Mapping[str, ArrayLike], title: str = "How far back the gradient reaches", of: Literal["h", "C"] = "h"
) -> Figure:
    """D1: one line per cell (or layer), lag across, mean gradient norm on a logarithmic axis.

    Args:
        curves: g_k by lag from 0, under each line's name.
        title: heading.
        of: which state the gradient is by.
    """
    figure, axes = _figure(title)
    for (name, values), style in zip(curves.items(), _styles(len(curves)), strict=True):
        g = _drawable(values)
        axes.plot(np.arange(len(g)), g, label=name, linewidth=1.8, **style)
    axes.set_yscale("log")
    axes.set_xlabel("lag k: steps back from the end of the window")
    axes.set_ylabel(f"{_gradient(of)}  (log scale)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0, max((np.size(values) - 1 for values in curves.values()), default=1) or 1)
    _legend_beside(axes)
    return figure


def gradient_heatmap(
    g: ArrayLike, epochs: Sequence[int], title: str = "Gradient by lag through training", of: Literal["h", "C"] = "h"
) -> Figure:
    """D1 through training: epoch across, lag upwards, mean gradient norm as colour on a logarithmic scale.

    Args:
        g: g_k, [epochs, lags].
        epochs: number of each row.
        title: heading.
        of: which state the gradient is by.
    """
    figure, axes = _figure(title)
    values = np.ma.masked_invalid(_drawable(g).T)
    norm = LogNorm(*_decades(values))
    axes.set_facecolor("0.85")
    image = axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="viridis",
        norm=norm,
        extent=_extent(values),
    )
    _label_epochs(axes, epochs)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("lag k: steps back from the end of the window")
    figure.colorbar(image, ax=axes, label=f"{_gradient(of)}  (log scale; grey: zero)")
    return figure


def tensor_norms(
    epochs: Sequence[int],
    gradient_norms: Mapping[str, ArrayLike],
    update_ratios: Mapping[str, ArrayLike],
    title: str = "Gradients and updates of each tensor",
) -> Figure:
    """D7 through training: gradient norm before clipping, and size of the updates, one line per parameter tensor.

    Args:
        epochs: number of each value.
        gradient_norms: ‖∂L/∂θ‖₂ by epoch, under each tensor's name.
        update_ratios: ‖Δθ‖₂ / ‖θ‖₂ by epoch, under the same names.
        title: heading.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    names = list(dict.fromkeys([*gradient_norms, *update_ratios]))
    styles = dict(zip(names, _styles(len(names)), strict=True))
    for axes, lines in ((left, gradient_norms), (right, update_ratios)):
        for name, values in lines.items():
            axes.plot(epochs, _drawable(values), label=name, linewidth=1.6, marker="o", markersize=3, **styles[name])
        axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("gradient norm before clipping, ‖∂L/∂θ‖")
    right.set_ylabel("size of an update, ‖Δθ‖ / ‖θ‖")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(names), 4), frameon=False, fontsize=9)
    return figure


def spectral_radius(
    epochs: Sequence[int],
    radius: Mapping[str, ArrayLike],
    title: str = "Spectral radius of the recurrent weights",
) -> Figure:
    """D5 through training: one line per gate, with the line at 1 that parts shrinking from growing.

    Args:
        epochs: number of each value.
        radius: largest absolute eigenvalue of the gate's block of W_hh by epoch, under each line's name.
        title: heading.
    """
    figure, axes = _figure(title)
    for (name, values), style in zip(radius.items(), _styles(len(radius)), strict=True):
        axes.plot(
            epochs, np.asarray(values, dtype=np.float64), label=name, linewidth=1.8, marker="o", markersize=3, **style
        )
    axes.axhline(1, color="0.35", linewidth=1)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.9), max(high, 1.1))
    for text, offset, anchor in (("grows", 4, "bottom"), ("shrinks", -4, "top")):
        axes.annotate(
            text, (1, 1), xycoords=("axes fraction", "data"), xytext=(-4, offset), textcoords="offset points",
            ha="right", va=anchor, fontsize=8, color="0.35",
        )  # fmt: skip
    axes.set_xlabel("epoch")
    axes.set_ylabel("spectral radius of $W_{hh}$: largest |eigenvalue|")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_beside(axes)
    return figure


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _styles(count: int) -> list[dict[str, Any]]:
    """Colour and dashes of each line: dashes change when the colours are used up, so no two lines look alike."""
    return [
        {"color": PALETTE[n % len(PALETTE)], "linestyle": DASHES[n // len(PALETTE) % len(DASHES)]} for n in range(count)
    ]


def _drawable(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    return np.where(array > FLOOR, array, np.nan)


def _gradient(of: str) -> str:
    return rf"mean $\|\partial L / \partial {of}_{{T-k}}\|$"


def _legend_beside(axes: Axes) -> None:
    """Names in the order in which the lines end, top to bottom."""
    handles, labels = axes.get_legend_handles_labels()
    ends = [_last_height(line) for line in handles if isinstance(line, Line2D)]
    order = sorted(range(len(ends)), key=lambda n: -ends[n])
    if order:
        names = [labels[n] for n in order]
        axes.legend([handles[n] for n in order], names, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def _last_height(line: Line2D) -> float:
    heights = np.asarray(line.get_ydata(), dtype=np.float64)
    return float(heights[-1]) if len(heights) and np.isfinite(heights[-1]) else -np.inf


def _decades(values: np.ma.MaskedArray) -> tuple[float, float]:
    """Colour range in whole powers of ten; all-zero gradients get an arbitrary one."""
    if values.count() == 0:
        return 1e-10, 1.0
    low, high = np.floor(np.log10(values.min())), np.ceil(np.log10(values.max()))
    return 10.0**low, 10.0 ** max(high, low + 1)


def _extent(values: np.ma.MaskedArray) -> tuple[float, float, float, float]:
    lags, epochs = values.shape
    return -0.5, epochs - 0.5, -0.5, lags - 0.5


def _label_epochs(axes: Axes, epochs: Sequence[int]) -> None:
    shown = range(0, len(epochs), max(1, len(epochs) // 12))
    axes.set_xticks(list(shown), [str(epochs[column]) for column in shown])
    axes.grid(visible=False)
