"""What is inside a network's top cell at the end of each window, and what its head says there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from carrossel.lab.units.readout import content
from carrossel.windows.tensor import slide

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from carrossel.forecaster.network import Network

    Values = NDArray[np.float64]

_BATCH = 1024


class Inside(NamedTuple):
    """Of every window.

    Attributes:
        memory: C of each unit after the last bar, or h for a cell without C; shape [windows, hidden].
        gates: how far each gate is open at the last bar, 0 … 1, by name; shapes as of `memory`.
        chances: the head's probability of each bin at the first horizon, shape [windows, bins].
    """

    memory: Values
    gates: dict[str, Values]
    chances: Values


@torch.inference_mode()
def look_inside(
    network: Network, series: Float[Tensor, "time features"], lookback: int, origins: NDArray[np.int64]
) -> Inside:
    """Run the windows that end at `origins`, each from a zero state, as in training.

    Args:
        network: with the binned head, in evaluation mode. Of a bidirectional one the units are those that read forwards.
        series: scaled features.
    """
    windows, top = slide(series, lookback), network.cells[-1]
    memory, gates, chances = [], [], []
    for batch in (torch.from_numpy(origins) - (lookback - 1)).split(_BATCH):
        trace = network.trace(windows[batch])
        before = [top.initial_state(len(batch)), *trace.states[-1]][-2]
        memory.append(content(top, trace.states[-1][-1]))
        gates.append(top.gate_values(top.project(trace.inputs[-1][-1:])[0], before))
        chances.append(trace.raw[:, 0].softmax(-1))
    return Inside(_join(memory), {name: _join([part[name] for part in gates]) for name in gates[0]}, _join(chances))


def _join(parts: Sequence[Tensor]) -> Values:
    joined: Values = torch.cat(list(parts)).double().numpy()
    return joined
