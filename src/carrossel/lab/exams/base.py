"""What every exam is: sequences drawn at will, questions about them, and a score of which less is better.

Shapes throughout the room: `time` steps, `batch` sequences, `answers` to all questions of a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch.nn.functional import cross_entropy

from carrossel.config import Section
from carrossel.kinds import Registry

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from torch import Tensor

registry: Registry[Exam] = Registry("carrossel.lab.exams", "exam")


class Batch(NamedTuple):
    """Sequences, and what is asked about them.

    Attributes:
        x: what the cell reads.
        asked: after which steps an answer is wanted: rows of `x.flatten(0, 1)`, that is step · batch + sequence.
        target: the right answers, or what an exam needs to judge them.
    """

    x: Float[Tensor, "time batch inputs"]
    asked: Int[Tensor, " answers"]
    target: Tensor


class ExamConfig(Section):
    """What every exam can be told in params.yaml."""

    lengths: tuple[int, ...] = Field(
        min_length=1, description="How long its sequences are; what that counts, the exam says."
    )
    iterations: int = Field(ge=1, description="Budget: training steps until it must be solved.")
    check_every: int = Field(
        default=100, ge=1, description="Training steps from one look at the fresh sequences to the next."
    )
    sequences: int = Field(default=512, ge=1, description="Fresh sequences on which solving is judged.")
    hidden_size: int = Field(
        default=64, ge=1, description="Units of a candidate that doesn't name its own hidden_size."
    )
    batch_size: int = Field(default=32, ge=1, description="Sequences of a training step, each drawn anew.")
    learning_rate: float = Field(default=0.005, gt=0, description="Of Adam.")
    clip_norm: float = Field(default=1.0, gt=0, description="Longer gradients are scaled down to this L2 norm.")


class Exam(ABC):
    """One exam at one length. A subclass in its own file registers itself: `class Adding(Exam, kind="adding")`.

    Attributes:
        inputs: features of x.
        outputs: numbers in an answer.
        measure: what the score is, in a few words.
        published: the figure of the paper, with its source.
    """

    kind: ClassVar[str]
    Config: ClassVar[type[ExamConfig]] = ExamConfig
    inputs: ClassVar[int]
    outputs: ClassVar[int]
    measure: ClassVar[str]
    published: ClassVar[str]

    def __init_subclass__(cls, *, kind: str | None = None, **rest: object) -> None:
        super().__init_subclass__(**rest)
        if kind is not None:
            cls.kind = kind
            registry.add(kind, cls)

    def __init__(self, config: ExamConfig, length: int) -> None:
        self.config = config
        self.length = length

    @property
    @abstractmethod
    def pass_mark(self) -> float:
        """The exam is solved by a score of at most this."""

    @property
    @abstractmethod
    def chance(self) -> float:
        """What the best answer that remembers nothing scores."""

    @abstractmethod
    def draw(self, generator: np.random.Generator, count: int) -> Batch:
        """So many fresh sequences; equal generators give equal ones."""

    def loss(self, answers: Float[Tensor, "answers outputs"], batch: Batch) -> Float[Tensor, ""]:
        """What training lowers: the mean cross-entropy in nats where an exam says nothing else."""
        return cross_entropy(answers, batch.target)

    @abstractmethod
    def score(self, answers: Float[Tensor, "answers outputs"], batch: Batch) -> float:
        """How far from right the answers are; 0 is perfect."""


def last_steps(time: int, count: int) -> Int[Tensor, " answers"]:
    """`asked` of a question after the last of `time` steps."""
    return torch.arange(count) + (time - 1) * count
