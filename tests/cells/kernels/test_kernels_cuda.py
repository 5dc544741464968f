"""The same contract on a GPU."""

from __future__ import annotations

import pytest
import torch
from kernel_kinds import DISTINCT

from carrossel.cells import State
from carrossel.cells.unrolling import unroll

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU can be had here"),
    pytest.mark.parametrize("kind", DISTINCT),
]


@pytest.mark.parametrize("backend", ["auto", "torch", "numba"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_and_gradients_are_those_of_the_cpu_loop(kind, backend, dtype, problem):
    each = problem(kind, 5, 9, 3, 7)
    exact = each.run("loop", torch.float64)
    cell = (each.single if dtype == torch.float32 else each.double).cuda()
    x = each.x.to("cuda", dtype).requires_grad_()
    state = State(*(None if part is None else part.to("cuda", dtype) for part in each.state))
    h, last = unroll(cell, x, state, backend)
    loss = (h * each.weights[0].to(h)).sum()
    if last.c is not None:
        loss = loss + (last.c * each.weights[1].to(h)).sum()
    loss.backward()
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10  # cuDNN sums in another order

    torch.testing.assert_close(h.double().cpu(), exact["h"], rtol=0, atol=tolerance)
    torch.testing.assert_close(x.grad.double().cpu(), exact["x"], rtol=tolerance, atol=tolerance)
