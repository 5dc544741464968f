"""The same contract on a GPU."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from kernel_kinds import DISTINCT

from carrossel.cells import State
from carrossel.cells.kernels.bptt import TorchRunner
from carrossel.cells.kernels.operation import run
from carrossel.cells.unrolling import runners, unroll

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU can be had here"),
    pytest.mark.parametrize("kind", DISTINCT),
]


def compare(each, cell, x, state, unrolled):
    """Outputs and all gradients, of the loss that `Problem.run` has."""
    inputs = {"x": x.requires_grad_(), "h_0": state.h.requires_grad_(), **dict(cell.named_parameters())}
    if state.c is not None:
        inputs["c_0"] = state.c.requires_grad_()
    h, last = unrolled(x, state)
    loss = (h * each.weights[0].to(h)).sum()
    if last.c is not None:
        loss = loss + (last.c * each.weights[1].to(h)).sum()
    found = dict(zip(inputs, torch.autograd.grad(loss, list(inputs.values())), strict=True))
    return found | {"h": h.detach()} | ({} if last.c is None else {"last c": last.c.detach()})


@pytest.mark.parametrize("size", [(64, 60, 5, 64), (256, 168, 8, 128), (5, 9, 3, 7), (1, 1, 1, 1), (40, 20, 3, 150)])
def test_triton_computes_what_torch_does_in_float64(kind, size, problem):
    """With the kernels whatever `auto` would choose; that their first small problem gives no warning is tested, too."""
    pytest.importorskip("triton", reason="triton isn't installed here")
    each = problem(kind, *size)
    form = each.single.cuda().fast()
    choose = runners._triton()
    assert choose is not None
    kernels = choose(form.maths, torch.device("cuda", torch.cuda.current_device()), size[-1])
    assert type(kernels).__name__ == "TritonRunner"
    found = {}
    for cell, runner in ((each.single, kernels), (each.double.cuda(), TorchRunner())):
        x, *state = (
            None if part is None else part.to("cuda", cell.weight_x.dtype, copy=True) for part in (each.x, *each.state)
        )
        found[runner] = compare(each, cell, x, State(*state), partial(run, runner, cell.fast()))
    single, double = found.values()

    for name, exact in double.items():
        worst = (single[name].double() - exact).abs().max() / exact.abs().max().clamp_min(1e-30)
        assert worst < 1e-4, name  # float32, over up to 168 steps


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
