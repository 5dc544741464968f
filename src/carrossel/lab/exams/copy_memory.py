"""The copying memory problem."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch.nn.functional import cross_entropy, one_hot

from carrossel.lab.exams.base import Batch, Exam, ExamConfig

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from torch import Tensor

LETTERS, BLANK, SIGN = 8, 8, 9


class CopyMemoryConfig(ExamConfig):
    """Settings of the copying problem."""

    lengths: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(100,), min_length=1, description="Steps between the last letter and the first to be repeated."
    )
    iterations: int = Field(default=5000, ge=1, description="Budget: training steps until it must be solved.")
    learning_rate: float = Field(default=0.01, gt=0, description="Of Adam.")
    letters: int = Field(default=10, ge=1, description="How many letters are to be repeated.")


class CopyMemory(Exam, kind="copy_memory"):
    """Repeat 10 letters after T steps.

    A sequence of T + 20 symbols: 10 letters out of 8, T − 1 blanks, a sign, 10 blanks. What is asked for at each step: blank
    until after the sign, then the 10 letters in order.

    References:
        Arjovsky, Shah & Bengio (2016), Unitary evolution recurrent neural networks, arXiv:1511.06464, section 4.1.
    """

    Config = CopyMemoryConfig
    config: CopyMemoryConfig
    inputs, outputs = 10, 9
    measure = "cross-entropy, nats per step"
    published = (
        "LSTM gets below chance for T = 100 alone, not for 200, 300 or 500 (Arjovsky, Shah & Bengio 2016, figure 1)"
    )

    @property
    def pass_mark(self) -> float:
        """A tenth of chance's: the right letters have a probability of 0.8 on average."""
        return 0.1 * self.chance

    @property
    def chance(self) -> float:
        """Blanks known, letters guessed: 10 ln 8 / (T + 20)."""
        return self.config.letters * math.log(LETTERS) / (self.length + 2 * self.config.letters)

    def draw(self, generator: np.random.Generator, count: int) -> Batch:
        many, steps = self.config.letters, self.length + 2 * self.config.letters
        letters = torch.from_numpy(generator.integers(LETTERS, size=(many, count)))
        symbols = torch.full((steps, count), BLANK)
        target = symbols.clone()
        symbols[:many] = letters
        symbols[-many - 1] = SIGN
        target[-many:] = letters
        return Batch(one_hot(symbols, self.inputs).float(), torch.arange(steps * count), target.flatten())

    def score(self, answers: Float[Tensor, "answers outputs"], batch: Batch) -> float:
        return cross_entropy(answers, batch.target).item()
