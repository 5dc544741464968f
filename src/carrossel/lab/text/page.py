"""The interactive page: the text in any unit's colours, with the likeliest next characters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from carrossel.lab.text.glyphs import show
from carrossel.lab.units.offline import pack, render_page
from carrossel.lab.units.ranking import sign
from carrossel.lab.units.readout import likeliest

if TYPE_CHECKING:
    from carrossel.lab.text.study import Losses, TextStudy

_MEMORISED = (
    0.5  # of the held-out loss: a training loss below is more memory of the text than knowledge of the language
)


def render_text(study: TextStudy) -> str:
    """The whole page as HTML; the same for the same study."""
    return render_page(
        "carrossel.lab.text",
        "page",
        _gather(study),
        study=study,
        verdict=tell_losses(study.losses),
        shown=len(study.text),
        held_out=len(study.text) - study.border,
        units=study.memory.shape[1],
        uniform=math.log2(len(study.alphabet)),
        rows=[[(sign(value), float(np.nan_to_num(abs(value), nan=-1.0))) for value in each] for each in study.places],
    )


def tell_losses(losses: Losses) -> str:
    """What was learned, in words: against counting characters, and against the text it was trained on."""
    gain = losses.unigram - losses.held_out
    found = (
        f"On the held-out end of the text the model needs {losses.held_out:.2f} bits per character; "
        f"counting characters alone needs {losses.unigram:.2f}. "
    )
    found += (
        f"So it has learned something that holds beyond what it read ({gain:.2f} bits). "
        if gain > 0
        else "So nothing that it learned holds beyond what it read. "
    )
    if losses.training < _MEMORISED * losses.held_out:
        return (
            found
            + f"On what it was trained on it needs {losses.training:.2f}: most of that is memorised, letter by letter."
        )
    return found + f"On what it was trained on it needs {losses.training:.2f}."


def _gather(study: TextStudy) -> dict[str, Any]:
    best = likeliest(study.chances)
    signal = study.signal
    limit = max(1.0, float(np.abs(signal).max()))
    return {
        "symbol": study.symbol,
        "limit": limit,
        "first": study.first_unit,
        "units": signal.shape[1],
        "text": list(study.text),
        "glyphs": {character: show(character) for character in sorted({*study.text, *study.alphabet.characters})},
        "alphabet": list(study.alphabet.characters),
        "border": study.border,
        "start": study.first,
        "signal": pack(np.rint(127 * signal / limit).T, "i1"),
        "likeliest": pack(best, "u1"),
        "chances": pack(np.rint(255 * np.take_along_axis(study.chances, best, axis=1)), "u1"),
        "kept": best.shape[1],
    }
