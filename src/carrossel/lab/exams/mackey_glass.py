"""The Mackey-Glass series, 84 time units ahead."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from pydantic import Field
from scipy.signal import lfilter
from torch.nn.functional import mse_loss

from carrossel.lab.exams.base import Batch, Exam, ExamConfig

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

DELAY, GAIN, DECAY, POWER = 17, 0.2, 0.1, 10
FINE = 4  # steps of the integration in a unit of time
INTERVAL, AHEAD = 6, 84  # units of time: between two samples, and to what is forecast
WARM_UP = 16  # samples read before the first forecast is asked for
SETTLE = 12  # delays until the series has forgotten how it began
MEAN, VARIANCE = 0.93, 0.051  # of the series; what is read and forecast is scaled by them


class MackeyGlassConfig(ExamConfig):
    """Settings of the Mackey-Glass exam."""

    lengths: tuple[Annotated[int, Field(ge=WARM_UP)], ...] = Field(
        default=(48,), min_length=1, description="Samples in a sequence, 6 units of time apart."
    )
    iterations: int = Field(default=1500, ge=1, description="Budget: training steps until it must be solved.")
    hidden_size: int = Field(
        default=32, ge=1, description="Units of a candidate that doesn't name its own hidden_size."
    )


class MackeyGlass(Exam, kind="mackey_glass"):
    """Forecast a chaotic series 84 units of time ahead.

        dx/dt = 0.2 x(t − 17) / (1 + x(t − 17)^10) − 0.1 x(t)

    A sequence is a stretch of its own of the series, one sample in 6 units of time. From the 16th sample on, x(t + 84) is asked for
    after each. The score is the root of the mean squared error over the standard deviation of the series. The best linear
    forecast from 16 samples has 0.53.

    References:
        Mackey & Glass (1977), Oscillation and chaos in physiological control systems, Science 197. Sampling of Gers, Eck &
        Schmidhuber (2001), Applying LSTM to time series predictable through time-window approaches. NRMSE₈₄ of Jaeger (2001), The
        'echo state' approach, GMD report 148, equation 25.
    """

    Config = MackeyGlassConfig
    inputs, outputs = 1, 1
    measure = "NRMSE, 84 units of time ahead"
    published = "echo state network of 400 units that reads every unit of time: 0.11 (Jaeger 2001, section 6.3)"

    @property
    def pass_mark(self) -> float:
        """What Jaeger's echo state network reached: a fifth of the best linear forecast's error."""
        return 0.11

    @property
    def chance(self) -> float:
        """The series' mean as the forecast."""
        return 1.0

    def draw(self, generator: np.random.Generator, count: int) -> Batch:
        series = integrate(generator, count, (self.length - 1) * INTERVAL + AHEAD + 1)
        scaled = torch.from_numpy(((series - MEAN) / math.sqrt(VARIANCE)).astype(np.float32))
        x = scaled[: (self.length - 1) * INTERVAL + 1 : INTERVAL, :, None]
        target = scaled[AHEAD::INTERVAL][WARM_UP - 1 :].reshape(-1, 1)
        return Batch(x.contiguous(), torch.arange((WARM_UP - 1) * count, self.length * count), target)

    def loss(self, answers: Float[Tensor, "answers outputs"], batch: Batch) -> Float[Tensor, ""]:
        return mse_loss(answers, batch.target)

    def score(self, answers: Float[Tensor, "answers outputs"], batch: Batch) -> float:
        return math.sqrt(mse_loss(answers, batch.target).item())


def integrate(generator: np.random.Generator, count: int, time: int) -> NDArray[np.float64]:
    """So many stretches of the series, settled, one value in a unit of time: [time, count].

    Delay by delay: within one, x(t − 17) is known, so the equation is linear. It is solved exactly for a delayed term that is
    linear between two steps.
    """
    step = 1 / FINE
    keep = math.exp(-DECAY * step)
    late = (1 - (1 - keep) / (DECAY * step)) / DECAY
    early = (1 - keep) / DECAY - late
    delay = DELAY * FINE
    x = np.tile(generator.uniform(0.4, 1.4, count), (delay + 1, 1))
    x += 0.1 * generator.standard_normal((1, count)) * np.linspace(-1, 1, delay + 1)[:, None]
    parts = []
    for _ in range(SETTLE + math.ceil(time / DELAY)):
        squared = x * x
        term = GAIN * x / (1 + (squared * squared) ** 2 * squared)
        driven = early * term[:-1] + late * term[1:]
        following, _ = lfilter([1.0], [1.0, -keep], driven, axis=0, zi=keep * x[-1:])
        x = np.concatenate([x[-1:], following])
        parts.append(following)
    return np.concatenate(parts[SETTLE:])[FINE - 1 :: FINE][:time]
