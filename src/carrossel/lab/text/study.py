"""Train a character model on the first nine tenths of a text, and look into it around the border to the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from carrossel.lab.text.alphabet import Alphabet, unigram_bits
from carrossel.lab.text.model import CharacterModel, loss_bits, read_through, train_model
from carrossel.lab.units.quantities import rank_correlations

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from carrossel.cells.base import CellConfig
    from carrossel.lab.text.config import Text

    Values = NDArray[np.float64]

_HELD_OUT = 10  # the last tenth
_LONGEST = 12_000  # characters looked at: more would be more than anyone reads, and than a page should weigh
_BYTES = 1_500_000  # of units and guesses on a page


class Losses(NamedTuple):
    """Bits per character.

    Attributes:
        training: of what was looked at of the training part.
        held_out: of what was looked at of the held-out part.
        unigram: of the same, by the frequencies of the training part alone.
    """

    training: float
    held_out: float
    unigram: float


@dataclass(frozen=True)
class TextStudy:
    """What was found, character by character of the stretch that was looked at.

    Args:
        name: of the text.
        kind: of the cell.
        length: characters in the whole text.
        first: where the stretch starts in it.
        border: where the held-out part starts, from the stretch's start.
        text: the stretch.
        alphabet: what the model tells apart.
        codes: of the stretch's characters.
        has_memory: whether `memory` is a C, of which h sees the tanh; else it is h.
        memory: of each unit after each character, shape [characters, units].
        chances: of each character to come next, shape [characters, alphabet].
        places: rank correlation of each unit's `signal`, to two decimals, with `place_in_line` and `place_in_word`,
            shape [units, 2].
    """

    name: str
    kind: str
    length: int
    first: int
    border: int
    text: str
    alphabet: Alphabet
    codes: NDArray[np.int64]
    losses: Losses
    has_memory: bool
    memory: Values
    chances: Values
    places: Values

    @property
    def signal(self) -> Values:
        """tanh(C) of each unit, or h for a cell without C; shape [characters, units]."""
        return np.tanh(self.memory) if self.has_memory else self.memory

    @property
    def symbol(self) -> str:
        """What `signal` is called."""
        return "tanh(C)" if self.has_memory else "h"

    @property
    def first_unit(self) -> int:
        """The unit to be shown first: the one whose colour changes most with the place in the line.

        By its covariance: a unit that is always near 1 may follow a place closely, but nobody would see it.
        """
        place = place_in_line(self.text)
        return int(np.argmax(np.abs((place - place.mean()) @ self.signal)))


def study_text(text: str, name: str, config: Text, cell: CellConfig, tell: Callable[[str], None]) -> TextStudy:
    """Fit a character model and read the text with it.

    Args:
        tell: gets lines of progress.

    Raises:
        TrainingError: if the loss isn't finite.
    """
    alphabet = Alphabet.of(text)
    codes = alphabet.encode(text)
    split = len(text) - max(len(text) // _HELD_OUT, 1)
    model = CharacterModel(config.cell, cell, len(alphabet), config.seed)
    train_model(model, codes[:split], config, tell)

    most = max(min(_LONGEST, _BYTES // (config.hidden_size + 16)), 2)
    end = min(len(text), split + most // 2)
    first = max(0, end - most)
    seen, border, stretch = codes[first:end], split - first, text[first:end]
    read = read_through(model, seen)
    # Only tanh(C) reaches h, and what is the same to two decimals has the same colour: a saturated unit follows nothing.
    signal = np.round(np.tanh(read.memory) if model.cell.has_memory else read.memory, 2)
    return TextStudy(
        name=name,
        kind=config.cell,
        length=len(text),
        first=first,
        border=border,
        text=stretch,
        alphabet=alphabet,
        codes=seen,
        losses=Losses(
            loss_bits(read.chances, seen, slice(1, border)),
            loss_bits(read.chances, seen, slice(border, None)),
            unigram_bits(seen[border:], codes[:split], len(alphabet)),
        ),
        has_memory=model.cell.has_memory,
        memory=read.memory,
        chances=read.chances,
        places=rank_correlations(signal, np.stack([place_in_line(stretch), place_in_word(stretch)], axis=1)),
    )


def place_in_line(text: str) -> Values:
    """Characters since the last line's end, itself included: 1 at a line's first character, 0 at its end."""
    return _since([character == "\n" for character in text])


def place_in_word(text: str) -> Values:
    """Letters and digits since the last other character: 1 at a word's first, 0 between words."""
    return _since([not character.isalnum() for character in text])


def _since(resets: list[bool]) -> Values:
    count, found = 0, np.empty(len(resets))
    for number, reset in enumerate(resets):
        count = 0 if reset else count + 1
        found[number] = count
    return found
