"""Characters that can't be seen, as ones that can."""

from __future__ import annotations

import unicodedata

from carrossel.lab.text.alphabet import OTHER

_SEEN = {" ": "␣", "\n": "↵", "\t": "⇥", OTHER: "◇"}


def show(character: str) -> str:
    """A character as one glyph: blanks and controls get a sign, a combining mark the circle that it is drawn on."""
    if character in _SEEN:
        return _SEEN[character]
    category = unicodedata.category(character)
    if category.startswith("M"):
        return "◌" + character
    return "□" if category[0] in "CZ" else character
