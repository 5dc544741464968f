"""Unrolling by Triton's kernels."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.nn.functional import linear

from carrossel.cells.base import State
from carrossel.cells.kernels.bptt import sum_gradients
from carrossel.cells.kernels.cuda.backward import unroll_backward
from carrossel.cells.kernels.cuda.forward import unroll_forward
from carrossel.cells.kernels.cuda.reading import read
from carrossel.cells.kernels.operation import Forward, Gradients
from carrossel.cells.kernels.phases import Parts, Weights

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from carrossel.cells.kernels.form import GateMaths

ROWS = 8
"""Sequences of one program: a tensor core's least, so that as many of the GPU's processors as can be have work."""
NARROW = 64
"""Up to this hidden size half as many units, with half as many threads, fill a tile."""


class Tiles(NamedTuple):
    """How a kernel cuts its work, and Triton's options for it.

    Attributes:
        ROWS: sequences of a program.
        UNITS: units at a time; sixteen for each warp, since a tensor core takes that many.
        DEPTH: numbers of a product's sums at a time; all gates' weights for them come together.
        num_warps: of 32 threads.
        num_stages: parts of weights on the way at once.
        enable_fp_fusion: whether a·b + c may be one rounding; said, since Triton's default changes with its version.
    """

    ROWS: int
    UNITS: int
    DEPTH: int
    num_warps: int
    num_stages: int = 3
    enable_fp_fusion: bool = True


def choose_tiles(hidden: int, blocks: int) -> Tiles:
    """Tiles for a hidden size, where `blocks` blocks of weights come together.

    With three parts on the way a program takes 70 KB of shared memory at most, for up to four blocks.
    """
    units = 64 if hidden <= NARROW else 128
    depth = max(16, 64 // triton.next_power_of_2(blocks))  # sixteen is the least that Triton multiplies
    return Tiles(ROWS, units, depth, num_warps=units // 16)


def describe(maths: GateMaths) -> dict[str, Any]:
    """What both kernels know of a cell while they are compiled."""
    return {
        "GATES": maths.gates,
        "DIRECT": maths.direct,
        "LOOKED": maths.looked,
        "LATE": maths.late,
        "VECTORS": maths.vectors,
        "MEMORY": maths.memory,
        "CARRIED": maths.carried,
        "KEEPS_GATES": maths.keeps_gates,
    }


class TritonRunner:
    """Runs the time loop inside one kernel, for float32; products over all steps are torch's."""

    def forward(
        self, maths: GateMaths, x: Tensor, h: Tensor | None, m: Tensor | None, weights: Weights, *, keep: bool
    ) -> Forward:
        """See `carrossel.cells.kernels.operation.Runner`."""
        parts, (time, batch, _), hidden = Parts(maths, weights), x.shape, weights.h.shape[1]
        gates = linear(x, weights.x, weights.bias).contiguous()
        hs = x.new_empty(time + 1, batch, hidden)
        hs[0] = 0 if h is None else h
        room = time + 1 if keep else 2
        ms = x.new_empty(room if maths.memory else 0, batch, hidden)
        if maths.memory:
            ms[0] = 0 if m is None else m
        self._launch(
            unroll_forward,
            maths,
            maths.gates,
            hs,
            gates,
            ms if maths.memory else None,
            weights.h[: parts.direct],
            parts.looked.t() if maths.looked else None,
            parts.late.t() if maths.late else None,
            weights.vectors,
            time,
            batch,
            hidden,
            2 * batch * hidden if keep else 0,
            FORWARD=read(maths).forward,
            FINISH=read(maths).finish,
        )
        last = ms[time if keep else time % 2].clone() if maths.carried else hs.new_empty(batch, 0)
        if not keep:
            return Forward(hs[1:], last, ())
        return Forward(hs[1:], last, (hs, gates if maths.keeps_gates else gates.new_empty(0), ms))

    def backward(
        self,
        maths: GateMaths,
        x: Tensor,
        weights: Weights,
        kept: tuple[Tensor, ...],
        dy: Tensor,
        dm: Tensor | None,
        *,
        needs_x: bool,
    ) -> Gradients:
        """See `carrossel.cells.kernels.operation.Runner`."""
        hs, gates, ms = kept
        parts, (time, batch, hidden) = Parts(maths, weights), dy.shape
        dgates = hs.new_empty(time + 1, batch, maths.gates * hidden)
        dgates[time] = 0
        dhs = hs.new_zeros(2, batch, hidden)
        dms = torch.zeros_like(dhs) if maths.memory else None
        if dm is not None and dms is not None and maths.carried:
            dms[0] = dm
        dvectors = hs.new_zeros(batch, maths.vectors, hidden) if maths.vectors else None
        self._launch(
            unroll_backward,
            maths,
            1,
            hs,
            dy,
            gates if maths.keeps_gates else dgates,
            ms if maths.memory else None,
            dgates,
            dhs,
            dms,
            dvectors,
            parts.h.contiguous(),
            parts.looked.contiguous() if maths.looked else None,
            parts.late.contiguous() if maths.late else None,
            weights.vectors,
            time,
            batch,
            hidden,
            BACKWARD=read(maths).backward,
            FINISH_BACKWARD=read(maths).finish_backward,
        )
        number = 0 if maths.late else time % 2
        dh = torch.addmm(dhs[number], dgates[0][:, : parts.direct], parts.h.t())
        carried: Tensor | None = None
        if maths.carried and dms is not None:
            carried = dms[number]
            if maths.looked:
                carried = torch.addmm(carried, dgates[0][:, : parts.looked_rows], parts.looked.t())
        unit = None if dvectors is None else dvectors.sum(0)
        return sum_gradients(parts, x, weights, hs, ms, dgates[:-1], State(dh, carried), unit, needs_x=needs_x)

    def _launch(self, kernel: Any, maths: GateMaths, blocks: int, hs: Tensor, *rest: Any, **readings: Any) -> None:
        _, batch, hidden = hs.shape
        tiles = choose_tiles(hidden, blocks)
        with _on(hs.device):
            kernel[(triton.cdiv(batch, tiles.ROWS),)](hs, *rest, **readings, **describe(maths), **tiles._asdict())


def _on(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
