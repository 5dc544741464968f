"""Plots of what this room measures, from plain arrays, without global matplotlib state."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from carrossel.diagnostics.curves import REACH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import ArrayLike, NDArray

# Okabe & Ito (2008), Color universal design: colour-blind readers tell them apart. Without yellow, too pale for lines.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LADDER = ("#08519c", "#3182bd", "#6baed6", "#bdd7e7")  # ColorBrewer's Blues: largest exponent darkest
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
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
    plot_by_lag(axes, {name: drawable(values) for name, values in curves.items()})
    axes.set_ylabel(f"{name_gradient(of)}  (log scale)")
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
    image = paint_heatmap(axes, g, epochs)
    figure.colorbar(image, ax=axes, label=f"{name_gradient(of)}  (log scale; grey: zero)")
    return figure


def paint_heatmap(axes: Axes, g: ArrayLike, epochs: Sequence[int]) -> AxesImage:
    """What `gradient_heatmap` shows, on axes; the caller adds the scale of colours."""
    values = np.ma.masked_invalid(drawable(g).T)
    axes.set_facecolor("0.85")
    image = axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="viridis",
        norm=LogNorm(*_decades(values)),
        extent=_extent(values),
    )
    _label_epochs(axes, epochs)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("lag k: steps back from the end of the window")
    return image


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
    styles = dict(zip(names, line_styles(len(names)), strict=True))
    for axes, lines in ((left, gradient_norms), (right, update_ratios)):
        for name, values in lines.items():
            axes.plot(epochs, drawable(values), label=name, linewidth=1.6, marker="o", markersize=3, **styles[name])
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
    paint_radius(axes, epochs, radius)
    _legend_beside(axes)
    return figure


def paint_radius(axes: Axes, epochs: Sequence[int], radius: Mapping[str, ArrayLike]) -> None:
    """What `spectral_radius` shows, on axes; the caller adds the legend."""
    for (name, values), style in zip(radius.items(), line_styles(len(radius)), strict=True):
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


def compare_memory(
    curves: Mapping[str, ArrayLike], title: str = "How much of its gradient each cell still has k steps back"
) -> Figure:
    """D1 of several cells side by side, as shares of lag 0: the scale of the loss drops out, the memory stays.

    The line at 1e-3 is where a lag stops counting as memory.

    Args:
        curves: g_k by lag from 0, under each cell's name.
        title: heading.
    """
    figure, axes = _figure(title, _height(len(curves)))
    plot_by_lag(axes, {name: relative(values) for name, values in curves.items()}, marked=True)
    mark_level(axes, REACH, "memory ends")
    axes.set_ylabel(r"$g_k / g_0$, of $g_k = $" + name_gradient("h") + "  (log scale)")
    _legend_beside(axes)
    return figure


def sensitivity_by_lag(
    curves: Mapping[str, ArrayLike], title: str = "How much the forecast depends on each bar of its window"
) -> Figure:
    """D2: one line per cell, lag across, mean norm of the forecast's gradient by the inputs on a logarithmic axis.

    Args:
        curves: mean of ‖∂ŷ/∂x_{T−k}‖ by lag from 0, under each line's name.
        title: heading.
    """
    figure, axes = _figure(title, _height(len(curves)))
    plot_by_lag(axes, {name: drawable(values) for name, values in curves.items()}, marked=True)
    axes.set_ylabel(r"mean $\|\partial \hat{y} / \partial x_{T-k}\|$  (log scale)")
    _legend_beside(axes)
    return figure


def jacobian_norms(
    products: Mapping[str, ArrayLike],
    steps: Mapping[str, ArrayLike],
    title: str = "What steps do to a disturbance of the state",
) -> Figure:
    """D3: on the left what k steps together can stretch a disturbance by, on the right what each single step can.

    Args:
        products: mean of ‖J_T … J_{T−k+1}‖₂ by lag from 0, under each line's name.
        steps: mean of σ_max(J_t) by step from 1, under the same names.
        title: heading.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    left.set_yscale("log")
    styles = dict(zip(products, line_styles(len(products), marked=True), strict=True))
    for name, values in products.items():
        left.plot(np.arange(np.size(values)), drawable(values), label=name, linewidth=1.8, **styles[name])
    for name, values in steps.items():
        array = np.asarray(values, dtype=np.float64)
        right.plot(np.arange(1, len(array) + 1), array, linewidth=1.8, **styles[name])
    for axes in (left, right):
        mark_level(axes, 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_xlabel("lag k: steps taken together, back from the end")
    left.set_ylabel(r"mean $\|J_T \cdots J_{T-k+1}\|_2$  (log scale)")
    right.set_xlabel("step t of the window")
    right.set_ylabel(r"mean $\sigma_{\max}(J_t)$")
    figure.legend(loc="outside lower center", ncols=min(len(products), 4) or 1, frameon=False, fontsize=9)
    return figure


def lyapunov_exponents(
    exponents: Mapping[str, ArrayLike], title: str = "Lyapunov exponents: does a small disturbance grow or die out?"
) -> Figure:
    """D4: bars of each cell's exponents, largest first, with the line at 0 that parts dying out from growing.

    Args:
        exponents: of each cell, per step, largest first; −inf is written, not drawn.
        title: heading.
    """
    shown = {name: np.asarray(values, dtype=np.float64) for name, values in exponents.items()}
    most = max((len(values) for values in shown.values()), default=1)
    figure, axes = _figure(title, height=1.7 + len(shown) * max(0.4, 0.16 * most))
    thickness = 0.8 / most
    for n in range(most):
        places = [place - 0.4 + (n + 0.5) * thickness for place in range(len(shown))]
        lengths = [values[n] if n < len(values) else np.nan for values in shown.values()]
        drawn = np.where(np.isfinite(lengths), lengths, 0)
        shade = LADDER[n % len(LADDER)]
        axes.barh(places, drawn, 0.9 * thickness, color=shade, label=f"{n + 1}.", edgecolor="0.25", linewidth=0.5)
        for place, length in zip(places, lengths, strict=True):
            if length == -np.inf:
                axes.text(0, place, "−∞ ", ha="right", va="center", fontsize=8)
    axes.set_axisbelow(True)
    axes.axvline(0, color="0.2", linewidth=1.2)
    low, high = axes.get_xlim()
    margin = 0.12 * (high - low)
    axes.set_xlim(min(low, -margin), max(high, margin))
    axes.set_yticks(range(len(shown)), list(shown))
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("← dies out     exponent λ per step (natural logarithm)     grows →")
    axes.set_ylabel("cell")
    axes.legend(title="exponent", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def gate_saturation(
    units: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
    title: str = "How often each unit's gates are saturated",
) -> Figure:
    """D6: a panel per gate, a point per unit: how often it is as good as shut against how often as good as open.

    At the lower left a gate is always in between, at the upper left always open, at the lower right always shut; no
    unit lies beyond the diagonal. In the manner of Karpathy, Johnson & Fei-Fei (2015).

    Args:
        units: per layer or cell, per gate, each unit's fraction of (step, sequence) below 0.1 and above 0.9.
        title: heading.
    """
    gates = list(dict.fromkeys(gate for layer in units.values() for gate in layer))
    figure = Figure(figsize=(max(6.0, 0.8 + 3.3 * len(gates)), 4.6), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, max(len(gates), 1), squeeze=False, sharey=True)[0]
    for axes, gate in zip_longest(panels, gates):
        axes.set_title(f"{gate} gate" if gate else "no gates", fontsize=11)
        axes.plot([0, 1], [1, 0], color="0.5", linewidth=1, linestyle="dashed", zorder=1)
        for n, (name, layer) in enumerate(units.items()):
            if gate in layer:
                shut, opened = layer[gate]
                look = {"color": PALETTE[n % len(PALETTE)], "marker": MARKERS[n % len(MARKERS)]}
                axes.scatter(
                    shut, opened, s=34, alpha=0.6, linewidth=0.6, edgecolor="0.2", label=name, zorder=2, **look
                )
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), aspect="equal")
        axes.set(xlabel="fraction below 0.1: shut", ylabel="fraction above 0.9: open")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(
            handles.values(), handles, loc="outside lower center", ncols=min(len(handles), 5), frameon=False, fontsize=9
        )
    return figure


def kept_by_lag(
    gradients: Mapping[str, ArrayLike],
    kept: Mapping[str, ArrayLike],
    title: str = "The memory's gradient, and what the gates alone let through",
) -> Figure:
    """D8 laid over D1: of each cell the gradient by lag as a share of lag 0, and the mean product of its kept shares.

    Where the two run together the gradient lives on the constant error carousel; where the gradient lies well above,
    detours through the hidden state carry it. A little above means nothing: norms lean on the units that keep longest.

    Args:
        gradients: D1 by lag from 0 under each cell's name: ∂L/∂C where there is a C, else ∂L/∂h.
        kept: D8 by lag from 0, under the same names.
        title: heading.
    """
    figure, axes = _figure(title, _height(len(gradients) + len(kept)))
    axes.set_yscale("log")
    styles = line_styles(len(gradients), marked=True)
    for (name, values), style in zip(gradients.items(), styles, strict=True):
        lines = [("gradient", "solid", relative(values))]
        if name in kept:
            lines.append(("gates alone", "dashed", drawable(kept[name])[: np.size(values)]))
        for what, dashes, share in lines:
            look = {**style, "linestyle": dashes, "linewidth": 1.8, "label": f"{name}: {what}"}
            axes.plot(np.arange(len(share)), share, **look)
    axes.set_ylabel("share of lag 0  (log scale)")
    label_lags(axes, gradients)
    _legend_beside(axes)
    return figure


def _figure(title: str, height: float = 4.5) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def plot_by_lag(axes: Axes, curves: Mapping[str, NDArray[np.float64]], *, marked: bool = False) -> None:
    """One line per curve over the lag, on a logarithmic axis; the caller adds the legend."""
    axes.set_yscale("log")
    for (name, values), style in zip(curves.items(), line_styles(len(curves), marked=marked), strict=True):
        axes.plot(np.arange(len(values)), values, label=name, linewidth=1.8, **style)
    label_lags(axes, curves)


def label_lags(axes: Axes, curves: Mapping[str, ArrayLike]) -> None:
    """Name and limit the axis of lags, as long as the longest curve."""
    axes.set_xlabel("lag k: steps back from the end of the window")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0, max((np.size(values) - 1 for values in curves.values()), default=1) or 1)


def mark_level(axes: Axes, level: float, text: str = "") -> None:
    """A thin line across at a height, with a word under it."""
    axes.axhline(level, color="0.35", linewidth=1)
    if not text:
        return
    axes.annotate(
        text, (0, level), xycoords=("axes fraction", "data"), xytext=(4, -4), textcoords="offset points",
        ha="left", va="top", fontsize=8, color="0.35", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )  # fmt: skip


def relative(values: ArrayLike) -> NDArray[np.float64]:
    """Shares of lag 0; nothing is drawn of a gradient that is zero there."""
    array = np.asarray(values, dtype=np.float64)
    return drawable(array / array[0]) if len(array) and array[0] > 0 else np.full(len(array), np.nan)


def line_styles(count: int, *, marked: bool = False) -> list[dict[str, Any]]:
    """Colour and dashes of each line: dashes change when the colours are used up, so no two lines look alike.

    Marked lines also have markers, each at points of its own: lines that lie on one another, as those of cells that are
    the same function until they are trained, are all seen.
    """
    styles: list[dict[str, Any]] = []
    for n in range(count):
        dashes = DASHES[n // len(PALETTE) % len(DASHES)]
        style: dict[str, Any] = {"color": PALETTE[n % len(PALETTE)], "linestyle": dashes}
        if marked:
            every = min(max(count, 5), 12)
            style |= {"marker": MARKERS[n % len(MARKERS)], "markersize": 5, "markevery": (n % every, every)}
        styles.append(style)
    return styles


def _height(names: int) -> float:
    """Inches that a legend of so many names needs beside the plot."""
    return max(4.5, 0.6 + 0.26 * names)


def drawable(values: ArrayLike) -> NDArray[np.float64]:
    """Values for a logarithmic axis: gaps where they are as good as zero."""
    array = np.asarray(values, dtype=np.float64)
    return np.where(array > FLOOR, array, np.nan)


def name_gradient(of: str) -> str:
    """D1's label, of h or C."""
    return rf"mean $\|\partial L / \partial {of}_{{T-k}}\|$"


def _legend_beside(axes: Axes) -> None:
    """Names in the order in which the lines end, top to bottom."""
    handles, labels = axes.get_legend_handles_labels()
    ends = [_last_height(line) for line in handles if isinstance(line, Line2D)]
    order = sorted(range(len(ends)), key=lambda n: -ends[n])
    if order:
        names = [labels[n] for n in order]
        handles = [handles[n] for n in order]
        axes.legend(handles, names, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handlelength=3)


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
