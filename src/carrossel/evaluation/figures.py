"""One look for every figure of this room, and bytes that depend on nothing but the data."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from carrossel.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes

# Okabe & Ito (2008): told apart by colour-blind readers too
BLACK = "#000000"
ORANGE = "#E69F00"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
GREY = "#8C8C8C"

_LOOK: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "carrossel",  # otherwise the ids in an SVG are drawn at random
    "svg.fonttype": "path",
}


@contextmanager
def look() -> Iterator[None]:
    """Draw with the room's style, whatever a user's matplotlibrc says; the settings before come back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_LOOK)  # type: ignore[arg-type]  # the stubs list every key as a literal
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure outside pyplot's list of open figures, so nothing has to close it.

    Args:
        width: inches.
        height: inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def show_dates(axes: Axes) -> None:
    """Label the x axis with dates as short as its span allows."""
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]  # the stubs leave matplotlib.dates out
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # likewise


def render_png(figure: Figure, dpi: int = 130) -> bytes:
    """PNG bytes without version or date."""
    stream = io.BytesIO()
    with look():
        figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def render_svg(figure: Figure) -> bytes:
    """SVG bytes without version or date; letters are outlines, so the reader's fonts don't matter."""
    stream = io.BytesIO()
    with look():
        figure.savefig(stream, format="svg", dpi=130, metadata={"Creator": None, "Date": None})
    return stream.getvalue()


def save_png(figure: Figure, path: Path) -> None:
    """Write a PNG atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(render_png(figure))
