"""Characters as numbers, and what counting them alone says of the next one."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 255  # one byte each on the page; rarer characters share a place
OTHER = "\ufffd"

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Alphabet:
    """The characters that a model tells apart.

    Args:
        characters: by their number; the last is `OTHER` where the text has more than a model tells apart.
    """

    characters: tuple[str, ...]

    @classmethod
    def of(cls, text: str, most: int = MOST) -> Alphabet:
        """Of a text, sorted; of too many, the most frequent and `OTHER`."""
        counted = Counter(text)
        if len(counted) <= most:
            return cls(tuple(sorted(counted)))
        frequent = sorted(counted, key=lambda character: (-counted[character], character))[: most - 1]
        return cls((*sorted(set(frequent) - {OTHER}), OTHER))

    def encode(self, text: str) -> Codes:
        """Numbers of a text's characters, shape [characters]."""
        numbers = {character: number for number, character in enumerate(self.characters)}
        other = len(self.characters) - 1
        return np.array([numbers.get(character, other) for character in text], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.characters)


def unigram_bits(codes: Codes, seen: Codes, size: int) -> float:
    """Cross-entropy of `codes` under the frequencies of `seen`: what is left to guess if one only counts characters.

    Frequencies have one added to each count (Laplace), since `codes` may hold characters that `seen` doesn't.

    Args:
        size: characters in the alphabet.

    Returns:
        Bits per character.
    """
    counts = np.bincount(seen, minlength=size) + 1.0
    return float(-np.log2(counts / counts.sum())[codes].mean())


def bits(nats: float) -> float:
    """A cross-entropy in nats as bits."""
    return nats / math.log(2)
