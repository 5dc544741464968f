"""Run by test_kernels_triton.py with TRITON_INTERPRET=1, which Triton reads as kernels are declared: what is found as JSON."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import torch
from kernel_kinds import DISTINCT, FORMS

from carrossel.cells import unrolling
from carrossel.cells.kernels.cuda import running, trust
from carrossel.cells.kernels.operation import run
from conftest import Problem

SHAPES = ("peephole", "gru", "peephole_diagonal")
"""Both kinds of late gates, and none; memory that is carried and one that isn't; vectors."""


def measure(kind: str, *size: int, **case: Any) -> float:
    return Problem(kind, *size).worst_error("torch", **case)


def main() -> None:
    torch.set_num_threads(1)
    unrolling.choose_runner = lambda cell, _x, _state, backend: (
        None if backend == "loop" else partial(run, running.TritonRunner(), cell.fast())
    )
    found = {f"{kind}, one block": measure(kind, 3, 2, 2, 5) for kind in DISTINCT}
    found |= {f"{kind}, one of everything": measure(kind, 1, 1, 1, 1) for kind in SHAPES}
    found |= {f"{kind}, h alone": measure(kind, 3, 2, 2, 5, given=False, used="h") for kind in SHAPES}
    fault = trust.find_fault(running.TritonRunner(), FORMS["gru"].maths, torch.device("cpu"), 3)
    running.choose_tiles = lambda *_: running.Tiles(4, UNITS=4, DEPTH=4, num_warps=4)
    found |= {f"{kind}, several blocks and tiles": measure(kind, 5, 2, 2, 5) for kind in SHAPES}
    print(json.dumps({"errors": found, "fault": fault}))


if __name__ == "__main__":
    main()
