"""A first look at the bars, as plots. Missing bars leave a shaded hole; no line is drawn across one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter, PercentFormatter
from scipy.stats import kurtosis, norm, skew

from carrossel.evaluation.exploration.statistics import (
    autocorrelate,
    compute_returns,
    find_holes,
    measure_bars_per_year,
    roll_volatility,
)
from carrossel.evaluation.figures import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILLION, look, new_figure, show_dates

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from carrossel.evaluation.exploration.statistics import Autocorrelation

LONGEST_LAG = 40
_WIDE = (10.0, 4.2)
_BINS = 121


def draw_exploration(bars: pd.DataFrame, dataset: str) -> dict[str, Figure]:
    """Every figure of the exploration by file name without suffix.

    Args:
        bars: canonical bars.
        dataset: name for the titles.

    Raises:
        SeriesTooShort: if there are too few returns.
    """
    returns = compute_returns(bars)
    with look():
        return {
            "price": draw_price(bars, dataset),
            "returns": draw_returns(bars, returns, dataset),
            "histogram": draw_histogram(returns, dataset),
            "volume": draw_volume(bars, dataset),
            "autocorrelation": draw_autocorrelation(returns, dataset),
            "rolling_volatility": draw_rolling_volatility(bars, returns, dataset),
        }


def draw_price(bars: pd.DataFrame, dataset: str) -> Figure:
    """Close over time, log scale, so equal percentage moves are equally tall."""
    figure = new_figure(*_WIDE)
    axes = figure.subplots()
    axes.plot(bars["timestamp"], bars["close"], color=BLUE, linewidth=0.9)
    axes.set_yscale("log")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(FuncFormatter(_label_price))
    axes.set(title=f"{dataset}: price", ylabel="close (price units, log scale)")
    _finish_time_axis(axes, bars)
    return figure


def draw_returns(bars: pd.DataFrame, returns: pd.Series, dataset: str) -> Figure:
    """Log return of every bar."""
    figure = new_figure(*_WIDE)
    axes = figure.subplots()
    axes.plot(returns.index, returns, color=BLUE, linewidth=0.5)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(title=f"{dataset}: returns", ylabel="log return of a bar")
    _finish_time_axis(axes, bars)
    return figure


def draw_histogram(returns: pd.Series, dataset: str) -> Figure:
    """Density of returns beside the normal curve with the same mean and deviation; log scale shows the tails."""
    figure = new_figure(10.0, 4.2)
    present = returns.dropna()
    mean, deviation = present.mean(), present.std()
    standard = (present - mean) / deviation if deviation > 0 else present - mean
    reach = float(np.ceil(standard.abs().max())) + 0.5
    edges = np.linspace(-reach, reach, _BINS)
    grid = np.linspace(-reach, reach, 601)
    linear, logarithmic = figure.subplots(1, 2)
    for axes in (linear, logarithmic):
        axes.hist(standard, bins=edges, density=True, color=BLUE, alpha=0.75, label=f"{len(present):,} returns")
        axes.plot(grid, norm.pdf(grid), color=VERMILLION, label="normal, same mean and deviation")
        axes.set(xlabel="standard deviations from the mean", ylabel="density")
    linear.set(title=f"{dataset}: distribution of returns", xlim=(-6, 6))
    linear.text(
        0.02,
        0.97,
        f"mean {mean:.3%}\ndeviation {deviation:.2%}\n"
        f"skewness {skew(present, bias=False):.2f}\nexcess kurtosis {kurtosis(present, bias=False):.1f}",
        transform=linear.transAxes,
        va="top",
    )
    logarithmic.set_yscale("log")
    logarithmic.set(title="the same on a log scale: the tails", ylim=(0.3 / (len(present) * (edges[1] - edges[0])), 2))
    logarithmic.legend(loc="upper left", fontsize=9)
    return figure


def draw_volume(bars: pd.DataFrame, dataset: str) -> Figure:
    """Volume of every bar and its rolling median."""
    figure = new_figure(*_WIDE)
    axes = figure.subplots()
    if bars["volume"].notna().any():
        window = _window(bars)
        axes.fill_between(bars["timestamp"], 0, bars["volume"], color=GREY, linewidth=0, label="each bar")
        axes.plot(
            bars["timestamp"],
            bars["volume"].rolling(window, min_periods=window // 2).median().where(bars["volume"].notna()),
            color=ORANGE,
            label=f"median of {window} bars",
        )
        axes.set_ylim(0, 1.5 * float(bars["volume"].quantile(0.995)) or 1.0)
    else:
        axes.text(0.5, 0.5, "the source has no volume", transform=axes.transAxes, ha="center")
    axes.yaxis.set_major_formatter(FuncFormatter(_label_large))
    axes.set(title=f"{dataset}: volume", ylabel="volume of a bar (source's unit)")
    _finish_time_axis(axes, bars)
    return figure


def draw_autocorrelation(returns: pd.Series, dataset: str) -> Figure:
    """Autocorrelation of returns, nearly none, above that of their size, which lasts: volatility clusters."""
    figure = new_figure(10.0, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    _stem(upper, autocorrelate(returns, LONGEST_LAG), BLUE)
    upper.set(title=f"{dataset}: autocorrelation of returns", ylabel="correlation")
    _stem(lower, autocorrelate(returns.abs(), LONGEST_LAG), GREEN)
    lower.set(title="autocorrelation of |returns|", ylabel="correlation", xlabel="lag (bars)")
    upper.legend(loc="upper right")
    return figure


def draw_rolling_volatility(bars: pd.DataFrame, returns: pd.Series, dataset: str) -> Figure:
    """Annualised volatility of the last 30 bars and of a longer window."""
    figure = new_figure(*_WIDE)
    axes = figure.subplots()
    per_year = measure_bars_per_year(bars["timestamp"])
    for window, color, width in ((30, BLUE, 0.6), (_window(bars), VERMILLION, 1.4)):
        axes.plot(
            returns.index,
            roll_volatility(returns, window, per_year),
            color=color,
            linewidth=width,
            label=f"{window} bars",
        )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set(title=f"{dataset}: rolling volatility", ylabel="volatility a year (√bars rule)", ylim=(0, None))
    _finish_time_axis(axes, bars)
    return figure


def _window(bars: pd.DataFrame) -> int:
    """About a hundredth of the series, at least 60 bars: long enough to be smooth at the width of a screen."""
    return int(max(60, round(len(bars) / 100)))


def _stem(axes: Axes, autocorrelation: Autocorrelation, color: str) -> None:
    band = autocorrelation.band
    axes.axhspan(-band, band, color=GREY, alpha=0.25, linewidth=0, label="95 % of white noise stays here")
    axes.vlines(autocorrelation.lags, 0, autocorrelation.coefficients, color=color, linewidth=1.6)
    axes.plot(autocorrelation.lags, autocorrelation.coefficients, "o", color=color, markersize=3.5)
    axes.axhline(0, color=BLACK, linewidth=0.8)
    values = np.nan_to_num(autocorrelation.coefficients)
    axes.set_ylim(1.25 * min(-1.6 * band, float(values.min())), 1.25 * max(1.6 * band, float(values.max())))


def _finish_time_axis(axes: Axes, bars: pd.DataFrame) -> None:
    show_dates(axes)
    axes.set_xlim(bars["timestamp"].iloc[0], bars["timestamp"].iloc[-1])
    axes.set_xlabel("time (UTC)")
    holes = find_holes(bars)
    for number, (first, last) in enumerate(holes):
        label = f"missing ({len(holes)} {'hole' if len(holes) == 1 else 'holes'})" if number == 0 else None
        axes.axvspan(first, last, color=ORANGE, alpha=0.3, linewidth=0.6, zorder=0, label=label)  # type: ignore[arg-type]  # axes of dates take dates
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=3)


def _label_price(value: float, _position: int) -> str:
    leading = f"{value:.0e}"[0]
    return f"{value:,.6g}" if leading in "125" else ""


def _label_large(value: float, _position: int) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:,.3g} {letter}"
    return f"{value:g}"
