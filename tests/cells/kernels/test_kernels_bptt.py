"""Backpropagation through time written out in torch's operations."""

from __future__ import annotations

import pytest
import torch
from kernel_kinds import DISTINCT
from torch.autograd import gradcheck, gradgradcheck

from carrossel.cells import State
from carrossel.cells.kernels.bptt import TorchRunner
from carrossel.cells.kernels.operation import run

pytestmark = pytest.mark.parametrize("kind", DISTINCT)


def bptt(cell, x, state):
    return run(TorchRunner(), cell.fast(), x, state)


def test_first_and_second_derivatives_agree_with_differences(kind, problem):
    cell = problem(kind, 2, 3, 2, 2).double
    generator = torch.Generator().manual_seed(1)
    shapes = [(3, 2, 2), (2, 2), *([(2, 2)] if cell.has_memory else [])]
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    inputs += list(cell.parameters())

    def final(x, *rest):
        h, last = bptt(cell, x, State(*rest[: len(shapes) - 1]))
        return (h, last.c) if cell.has_memory else h

    assert gradcheck(final, inputs)
    # along random directions in place of every pair of inputs, which takes four times as long as all the rest of this file
    assert gradgradcheck(final, inputs, fast_mode=True)


def test_it_is_the_loop_in_float64(kind, problem, monkeypatch):
    each = problem(kind, 6, 11, 3, 5)
    monkeypatch.setattr("carrossel.cells.unrolling.runners.run_torch_layer", None)
    monkeypatch.setattr(type(each.double), "fused", lambda _self: None)

    assert each.worst_error("torch", torch.float64) < 1e-12  # sixteen digits, eleven steps


def test_an_input_computed_from_another_is_not_counted_twice(kind, problem):
    """h_0 made from x: the second derivative takes the path through h_0 once."""
    cell = problem(kind, 2, 3, 4, 4).double
    memory = torch.ones(2, 4, dtype=torch.float64) if cell.has_memory else None
    start = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def second(unrolled):
        x = start.clone().requires_grad_()
        y, _ = unrolled(cell, x, State(x.mean(0), memory))
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    def loop(cell, x, state):
        outputs = []
        for projected in cell.project(x):
            state = cell.step(projected, state)
            outputs.append(state.h)
        return torch.stack(outputs), state

    torch.testing.assert_close(second(bptt), second(loop), rtol=1e-10, atol=1e-12)
