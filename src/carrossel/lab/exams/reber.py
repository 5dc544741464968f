"""The embedded Reber grammar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from pydantic import Field
from torch.nn.functional import cross_entropy, one_hot

from carrossel.lab.exams.base import Batch, Exam, ExamConfig

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

SYMBOLS = "BTPSXVE"
# Reber's machine by node: its arcs, each as likely, with the symbol that is written and the node where the arc ends.
REBER = (("B1",), ("T2", "P3"), ("S2", "X4"), ("T3", "V5"), ("X3", "S6"), ("P4", "V6"), ("E7",))
SHORTEST, LONGEST = 9, 80  # symbols; of 10 million strings not one is longer


def _embed() -> list[list[tuple[str, int]]]:
    """The machine with B and T or P before a string of Reber's, the same T or P and E behind.

    It holds Reber's machine twice, so that a node knows how its string began. The last node is where strings have ended.
    """
    copies = {"T": 2, "P": 3 + len(REBER)}
    last = 4 + 2 * len(REBER)
    machine = [[("B", 1)], list(copies.items())]
    for symbol, first in copies.items():
        machine += [[(arc[0], first + int(arc[1:])) for arc in arcs] for arcs in REBER]
        machine.append([(symbol, last)])
    return [*machine, [("E", last + 1)], [("E", last + 1)]]


MACHINE = _embed()
END = len(MACHINE) - 1
# By node and by how a coin falls.
WRITTEN = np.array([[SYMBOLS.index(arcs[coin % len(arcs)][0]) for coin in (0, 1)] for arcs in MACHINE])
NEXT = np.array([[arcs[coin % len(arcs)][1] for coin in (0, 1)] for arcs in MACHINE])
LEGAL = torch.from_numpy((WRITTEN[:, :, None] == np.arange(len(SYMBOLS))).any(1))


class ReberConfig(ExamConfig):
    """Settings of the embedded Reber grammar."""

    lengths: tuple[Annotated[int, Field(ge=SHORTEST, le=40)], ...] = Field(
        default=(SHORTEST,), min_length=1, description="Symbols of the shortest strings that are drawn; 9 takes all."
    )
    iterations: int = Field(default=1500, ge=1, description="Budget: training steps until it must be solved.")
    sequences: int = Field(default=256, ge=1, description="Fresh strings on which solving is judged.")
    hidden_size: int = Field(
        default=16, ge=1, description="Units of a candidate that doesn't name its own hidden_size."
    )
    learning_rate: float = Field(default=0.01, gt=0, description="Of Adam.")


class Reber(Exam, kind="reber"):
    """Say at each symbol of a string which ones may come next.

    Strings come from a finite-state machine: B, T or P, a string of Reber's grammar, the same T or P once more, E. That last T or
    P can be told from the second symbol alone, 6 or more steps before. Training shows the symbol that came; a string is
    right if after each of its symbols the legal next ones, one or two, are those held to be likeliest.

    References:
        Hochreiter & Schmidhuber (1997), Long short-term memory, Neural Computation 9(8), experiment 1; embedded by Smith & Zipser
        (1989), Learning sequential structure with the real-time recurrent learning algorithm.
    """

    Config = ReberConfig
    inputs, outputs = len(SYMBOLS), len(SYMBOLS)
    measure = "share of strings with a wrong step"
    published = "LSTM of 3 blocks of 2 cells: 8,440 strings (Hochreiter & Schmidhuber 1997, experiment 1)"

    @property
    def pass_mark(self) -> float:
        """Every step of every string is right."""
        return 0.0

    @property
    def chance(self) -> float:
        """All is right but the last T or P, which is guessed."""
        return 0.5

    def draw(self, generator: np.random.Generator, count: int) -> Batch:
        nodes, symbols = self._strings(generator, count)
        x = one_hot(torch.from_numpy(symbols[:-1]), self.inputs).float()
        # After reading one symbol, what is asked is the next one, which the node behind it writes.
        following, written = (torch.from_numpy(each[1:]).flatten() for each in (nodes, symbols))
        asked = torch.nonzero(following != END).squeeze(1)
        return Batch(x, asked, torch.stack([written[asked], following[asked]], dim=1))

    def loss(self, answers: Float[Tensor, "answers outputs"], batch: Batch) -> Float[Tensor, ""]:
        return cross_entropy(answers, batch.target[:, 0])

    def score(self, answers: Float[Tensor, "answers outputs"], batch: Batch) -> float:
        legal = LEGAL[batch.target[:, 1]]
        outsider = answers.masked_fill(legal, -torch.inf).amax(1)
        wrong = ~(answers.masked_fill(~legal, torch.inf).amin(1) > outsider)
        count = batch.x.shape[1]
        return len((batch.asked[wrong] % count).unique()) / count

    def _strings(self, generator: np.random.Generator, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Nodes and the symbols that they wrote, [time, count]; a string that has ended waits at `END`."""
        found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        while sum(nodes.shape[1] for nodes, _ in found) < count:
            coins = generator.integers(2, size=(LONGEST, count))
            nodes, symbols = np.empty_like(coins), np.empty_like(coins)
            node = np.zeros(count, dtype=np.int64)
            for step, coin in enumerate(coins):
                nodes[step], symbols[step], node = node, WRITTEN[node, coin], NEXT[node, coin]
            fits = (node == END) & ((nodes != END).sum(0) >= self.length)
            found.append((nodes[:, fits], symbols[:, fits]))
        nodes, symbols = (np.concatenate(each, axis=1)[:, :count] for each in zip(*found, strict=True))
        time = int((nodes != END).sum(0).max())
        return nodes[:time], symbols[:time]
