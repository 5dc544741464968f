"""The adding problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from pydantic import Field
from torch.nn.functional import mse_loss

from carrossel.lab.exams.base import Batch, Exam, ExamConfig, last_steps

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class AddingConfig(ExamConfig):
    """Settings of the adding problem."""

    lengths: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        default=(100,), min_length=1, description="Steps of a sequence."
    )
    iterations: int = Field(default=2000, ge=1, description="Budget: training steps until it must be solved.")


class Adding(Exam, kind="adding"):
    """Add the two numbers that were marked, one in each half of the sequence.

    At each step x holds a number from U(0, 1) and a mark, 1 at two steps and 0 elsewhere. After the last step the sum of the
    two marked numbers is asked for. Who always answers 1 has a mean squared error of 1/6, the variance of that sum.

    References:
        Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9(8), experiment 4; in the form of Le, Jaitly
        & Hinton (2015), arXiv:1504.00941, section 4.1: U(0, 1), one length, a mark in each half.
    """

    Config = AddingConfig
    inputs, outputs = 2, 1
    measure = "mean squared error"
    published = "LSTM, T = 100: 74,000 sequences; T = 500: 209,000 (Hochreiter & Schmidhuber 1997, experiment 4)"

    @property
    def pass_mark(self) -> float:
        """A mean squared error that is a seventeenth of chance's: typically wrong by less than 0.1."""
        return 0.01

    @property
    def chance(self) -> float:
        """The variance of the sum of two numbers from U(0, 1)."""
        return 1 / 6

    def draw(self, generator: np.random.Generator, count: int) -> Batch:
        sequences, half = np.arange(count), self.length // 2
        x = np.zeros((self.length, count, 2), dtype=np.float32)
        x[:, :, 0] = generator.random((self.length, count), dtype=np.float32)
        total = np.zeros(count, dtype=np.float32)
        for first, end in ((0, half), (half, self.length)):
            marked = generator.integers(first, end, size=count)
            x[marked, sequences, 1] = 1
            total += x[marked, sequences, 0]
        return Batch(torch.from_numpy(x), last_steps(self.length, count), torch.from_numpy(total)[:, None])

    def loss(self, answers: Float[Tensor, "answers outputs"], batch: Batch) -> Float[Tensor, ""]:
        return mse_loss(answers, batch.target)

    def score(self, answers: Float[Tensor, "answers outputs"], batch: Batch) -> float:
        return mse_loss(answers, batch.target).item()
