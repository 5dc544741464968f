"""How long one forecast takes."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from carrossel.forecaster.network import Network
    from carrossel.windows.tensor import WindowedSeries

_WARM_UP, _REPEATS = 20, 200


def measure_latency(network: Network, data: WindowedSeries) -> float:
    """Median microseconds of one window's forecast on one thread; other trials beside it are part of the noise."""
    network.eval()
    window = data.gather(torch.from_numpy(data.split.validation[:1]))
    seconds = []
    with torch.inference_mode():
        for _ in range(_WARM_UP + _REPEATS):
            started = time.perf_counter()
            network.point(window)
            seconds.append(time.perf_counter() - started)
    return 1e6 * median(seconds[_WARM_UP:])
