"""Which kinds have a path of their own beside the loop, and how closely it must agree with the loop."""

from __future__ import annotations

import torch

from carrossel.cells import registry
from carrossel.cells.unrolling.runners import choose_runner

# float64 keeps 16 digits; float32, the only numbers that the kernels take, 7, and twelve steps lose two of them
PATHS = {"torch": (torch.float64, 1e-10), "auto": (torch.float32, 2e-5)}


def has_path(kind, path):
    cls = registry.load(kind)
    cell = cls(2, cls.Config(hidden_size=4)).to(PATHS[path][0])
    x = torch.zeros(3, 2, 2, dtype=PATHS[path][0])
    return choose_runner(cell, x, cell.initial_state(2), path) is not None


FUSED = [(kind, path) for kind in registry.kinds() for path in PATHS if has_path(kind, path)]
