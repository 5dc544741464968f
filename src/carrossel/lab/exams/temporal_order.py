"""Temporal order of three symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from pydantic import Field
from torch.nn.functional import one_hot

from carrossel.lab.exams.base import Batch, Exam, ExamConfig

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

DISTRACTORS, SYMBOL, START, END = 4, 4, 6, 7  # a … d are 0 … 3, X and Y 4 and 5
PLACES = ((0.1, 0.2), (0.33, 0.43), (0.66, 0.76))


class TemporalOrderConfig(ExamConfig):
    """Settings of the temporal order problem."""

    lengths: tuple[Annotated[int, Field(ge=20)], ...] = Field(
        default=(100,), min_length=1, description="Steps of the shortest sequences; the longest have a tenth more."
    )
    iterations: int = Field(default=2000, ge=1, description="Budget: training steps until it must be solved.")
    hidden_size: int = Field(default=4, ge=1, description="Units of a candidate that doesn't name its own hidden_size.")
    learning_rate: float = Field(default=0.02, gt=0, description="Of Adam.")


class TemporalOrder(Exam, kind="temporal_order"):
    """In which order did X and Y come?

    A sequence of T to 1.1 T symbols begins with E, ends with B, and is random letters a, b, c, d between but for three steps:
    X or Y, each as likely, within 0.1 T … 0.2 T, 0.33 T … 0.43 T and 0.66 T … 0.76 T. After B is asked which of the 8
    triples came.

    References:
        Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9(8), experiment 6b, where T is 100.
    """

    Config = TemporalOrderConfig
    inputs, outputs = 8, 8
    measure = "share of sequences misjudged"
    published = "LSTM of 3 blocks of 2 cells, T = 100: 571,100 sequences (Hochreiter & Schmidhuber 1997, experiment 6b)"

    @property
    def pass_mark(self) -> float:
        """At most 1 sequence in 100 misjudged."""
        return 0.01

    @property
    def chance(self) -> float:
        """All but one of 8 equally likely classes."""
        return 7 / 8

    def draw(self, generator: np.random.Generator, count: int) -> Batch:
        length, sequences = self.length, np.arange(count)
        longest = length + length // 10
        last = generator.integers(length - 1, longest, size=count)
        symbols = generator.integers(DISTRACTORS, size=(longest, count))
        symbols[0] = START
        answer = np.zeros(count, dtype=np.int64)
        for first, end in PLACES:
            place = generator.integers(round(first * length), round(end * length) + 1, size=count)
            bit = generator.integers(2, size=count)
            symbols[place, sequences] = SYMBOL + bit
            answer = 2 * answer + bit
        symbols[last, sequences] = END
        x = one_hot(torch.from_numpy(symbols), self.inputs).float()
        return Batch(x, torch.from_numpy(last * count + sequences), torch.from_numpy(answer))

    def score(self, answers: Float[Tensor, "answers outputs"], batch: Batch) -> float:
        return (answers.argmax(1) != batch.target).float().mean().item()
