"""The first lines of a text in a unit's colours, the likeliest next characters under each."""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator

from carrossel.evaluation.figures import look, new_figure
from carrossel.lab.text.glyphs import show
from carrossel.lab.units.readout import LIKELIEST, likeliest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

    from carrossel.lab.text.study import TextStudy

# Light colours, on which black letters are read; blue against orange, which colour-blind readers tell apart.
_SIGNED = LinearSegmentedColormap.from_list("signed_light", ["#56B4E9", "#FFFFFF", "#E69F00"])
_CHANCE = LinearSegmentedColormap.from_list("chance", ["#FFFFFF", "#009E73"])
_NARROWEST, _WIDTH = 48, 72  # characters in a row of the picture
_ROWS = LIKELIEST + 2  # the character, the guesses beneath it, and a blank row
_FONT = "DejaVu Sans Mono"
_FAINT = 0.01


@look()
def draw_text(study: TextStudy, unit: int, lines: int) -> Figure:
    """The stretch's first lines: each character on its unit's colour, below it the five likeliest next ones.

    Args:
        lines: on the picture; one longer than it is wide goes on in the next, and counts again.
    """
    rows = list(islice(_wrap(study.text), lines)) or [range(min(len(study.text), _WIDTH))]
    width = max(_NARROWEST, *(len(row) for row in rows))
    signal = np.full((_ROWS * len(rows), width), np.nan)
    chance = np.full_like(signal, np.nan)
    height = 0.185 * _ROWS * len(rows)
    figure = new_figure(0.4 + 0.165 * width, 1.3 + height)
    grid = figure.add_gridspec(2, 2, height_ratios=[height, 0.14], wspace=0.2)
    axes = figure.add_subplot(grid[0, :])
    best = likeliest(study.chances[: rows[-1][-1] + 1])
    for block, row in enumerate(rows):
        top = block * _ROWS
        for column, place in enumerate(row):
            signal[top, column] = study.signal[place, unit]
            axes.text(column, top, _drawable(study.text[place]), family=_FONT, fontsize=10, **_CENTRED)
            for rank, code in enumerate(best[place], start=1):
                share = study.chances[place, code]
                chance[top + rank, column] = share
                glyph = _drawable(study.alphabet.characters[code])
                alpha = 1.0 if share >= _FAINT else 0.3
                axes.text(column, top + rank, glyph, family=_FONT, fontsize=8, alpha=alpha, **_CENTRED)
    limit = max(1.0, float(np.nanmax(np.abs(signal))))
    colored = axes.imshow(signal, cmap=_SIGNED, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    shaded = axes.imshow(chance, cmap=_CHANCE, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_ylim(_ROWS * len(rows) - 1.4, -0.6)
    axes.set_axis_off()
    axes.set_title(
        f"{_spell(study.name)}: unit {unit} of {study.kind}, and beneath each character the {best.shape[1]} likeliest to "
        f"come next\n{_tell_part(study, rows[-1].stop)}",
        parse_math=False,
    )
    for column, (image, label) in enumerate(
        (
            (colored, f"{study.symbol} of unit {unit}"),
            (shaded, f"probability of the next character (pale: under {100 * _FAINT:g} %)"),
        )
    ):
        bar = figure.colorbar(image, cax=figure.add_subplot(grid[1, column]), orientation="horizontal", label=label)
        bar.locator = MaxNLocator(4)
    return figure


_CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "in_layout": False}


def _tell_part(study: TextStudy, end: int) -> str:
    """How well the model knows what the picture shows: letters it has by heart look like knowledge."""
    losses = study.losses
    shown = "Trained on this" if end <= study.border else "Trained on most of this"
    return (
        f"{shown}: {losses.training:.2f} bits per character. Held out: {losses.held_out:.2f}, "
        f"counting alone {losses.unigram:.2f}."
    )


def _wrap(text: str) -> Iterator[range]:
    """Places of the characters in each row, of lines that aren't empty: with the line's end, at most `_WIDTH`."""
    start = 0
    for line in text.split("\n"):
        if line:
            end = min(len(line) + 1, len(text) - start)  # with the sign of the line's end, where there is one
            yield from (range(start + begin, start + min(begin + _WIDTH, end)) for begin in range(0, end, _WIDTH))
        start += len(line) + 1


def _spell(name: str) -> str:
    """A text's name in what the font can draw."""
    return "".join(each if ord(each) in _charmap() else "□" for each in name)


def _drawable(character: str) -> str:
    """A character that the font can draw; `$` would start a formula."""
    glyph = show(character)
    return (r"\$" if glyph == "$" else glyph) if all(ord(each) in _charmap() for each in glyph) else "□"


@cache
def _charmap() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=_FONT))).get_charmap())
