"""One sitting: train on fresh sequences until the exam is solved or its budget is spent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from carrossel.lab.exams.sitting.network import Examinee

if TYPE_CHECKING:
    from carrossel.lab.exams.base import Batch, Exam
    from carrossel.lab.exams.sitting.plan import Sitting

JUDGING = 0  # which sequences: those that judge; training's are numbered from 1


@dataclass(frozen=True)
class Result:
    """How a sitting ended.

    Args:
        iterations: training steps until it was solved, or all there were.
        score: at the last look; NaN where training diverged.
        curve: training steps and score of every look.
        parameters: trained numbers.
    """

    solved: bool
    iterations: int
    score: float
    curve: tuple[tuple[int, float], ...]
    parameters: int


def sit(sitting: Sitting) -> Result:
    """Let the candidate sit.

    Each training step sees sequences of its own, drawn from seed and step, so candidates with one seed see the same ones.
    Every `check_every` steps the candidate is judged on sequences that are never trained on; the first look at which its
    score reaches the pass mark ends the sitting, as does a loss that isn't finite.
    """
    exam, config = sitting.open_exam(), sitting.exam_config
    judging = exam.draw(_generator(sitting, JUDGING), config.sequences)
    curve: list[tuple[int, float]] = []
    # What options such as zoneout draw comes from torch's global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sitting.seed)
        network = Examinee(sitting.cell, sitting.cell_config, exam.inputs, exam.outputs, sitting.seed)
        optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
        for iteration in range(1, config.iterations + 1):
            batch = exam.draw(_generator(sitting, iteration), config.batch_size)
            finite = _learn(network, exam, batch, optimiser, config.clip_norm)
            if finite and iteration % config.check_every and iteration < config.iterations:
                continue
            score = _judge(network, exam, judging) if finite else math.nan
            curve.append((iteration, score))
            if not score > exam.pass_mark:
                break
    parameters = sum(each.numel() for each in network.parameters())
    return Result(score <= exam.pass_mark, iteration, score, tuple(curve), parameters)


def _generator(sitting: Sitting, which: int) -> np.random.Generator:
    return np.random.default_rng((sitting.seed, which))


def _learn(network: Examinee, exam: Exam, batch: Batch, optimiser: torch.optim.Optimizer, clip_norm: float) -> bool:
    loss = exam.loss(network(batch.x, batch.asked), batch)
    if not math.isfinite(loss.item()):
        return False
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    clip_grad_norm_(network.parameters(), clip_norm)
    optimiser.step()
    return True


@torch.no_grad()
def _judge(network: Examinee, exam: Exam, batch: Batch) -> float:
    network.eval()
    score = exam.score(network(batch.x, batch.asked), batch)
    network.train()
    return score
