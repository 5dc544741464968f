"""LEM: equation 3 of the paper, what small time steps do, and its kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from carrossel.cells import State, registry
from carrossel.cells.kernels.bptt import TorchRunner
from carrossel.cells.kernels.operation import run
from carrossel.cells.unrolling import unroll, unroll_states


def σ(a):  # noqa: PLC2401  # the equations' own name
    return 1 / (1 + np.exp(-a))


def lem(cell, u, y, z):
    W, V, b = (
        dict(zip(cell.gates, np.split(each.detach().numpy(), 4), strict=True))
        for each in (cell.weight_h, cell.weight_x, cell.bias)
    )
    first, second, of_z, of_y = cell.gates
    step_z = cell.config.dt * σ(W[first] @ y + V[first] @ u + b[first])
    step_y = cell.config.dt * σ(W[second] @ y + V[second] @ u + b[second])
    z = (1 - step_z) * z + step_z * np.tanh(W[of_z] @ y + V[of_z] @ u + b[of_z])
    return (1 - step_y) * y + step_y * np.tanh(W[of_y] @ z + V[of_y] @ u + b[of_y]), z


def generic(cell, draw, batch):
    return State(draw(batch, cell.hidden_size, seed=1).tanh(), draw(batch, cell.hidden_size, seed=2))


@pytest.mark.parametrize("backend", ["loop", "torch"])
@pytest.mark.parametrize("dt", [1.0, 0.3])
def test_each_state_is_the_papers(dt, backend, make_cell, draw):
    cell, x = make_cell("lem", dt=dt), draw(9, 2, 3)
    state = generic(cell, draw, 2)
    expected, ends = np.empty((9, 2, 4)), []
    for k in range(2):
        y, z = (part[k].numpy() for part in state)
        for t in range(9):
            y, z = lem(cell, x[t, k].numpy(), y, z)
            expected[t, k] = y
        ends.append(z)
    h, last = unroll(cell, x, state, backend)

    np.testing.assert_allclose(h.detach(), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(last.memory.detach(), ends, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dt", [1.0, 0.3])
@pytest.mark.parametrize("hidden", [3, 8, 21])  # with and without units that the kernels pad
def test_the_kernels_give_the_loops_numbers_and_gradients(hidden, dt, make_cell, draw):
    single, double = (
        make_cell("lem", dtype=dtype, hidden_size=hidden, dt=dt) for dtype in (torch.float32, torch.float64)
    )
    found = []
    for cell, backend in ((double, "loop"), (double, "torch"), (single, "numba")):
        dtype = cell.weight_x.dtype
        inputs = [draw(7, 5, 3), *generic(double, draw, 5)]
        inputs = [each.to(dtype).requires_grad_() for each in inputs]
        h, last = unroll(cell, inputs[0], State(*inputs[1:]), backend)
        loss = (h * draw(7, 5, hidden, seed=3)).sum() + (last.memory * draw(5, hidden, seed=4)).sum()
        found.append([h, last.memory, *torch.autograd.grad(loss, [*inputs, *cell.parameters()])])
    exact, by_hand, rounded = ([each.detach().double() for each in every] for every in found)

    torch.testing.assert_close(by_hand, exact, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(rounded, exact, rtol=1e-4, atol=2e-5)  # sums of 35 terms in float32


def test_the_largest_steps_own_derivative_is_right(make_cell, draw):
    """Δt isn't learned, but the gate maths give its gradient, and what gives one gives a right one."""
    cell, x = make_cell("lem", hidden_size=2, input_size=2), draw(3, 1, 2)
    form, state = cell.fast(), generic(cell, draw, 1)

    def run_with(dt):
        return run(TorchRunner(), replace(form, vectors=torch.stack([dt, (1 / dt).detach()])), x, state)[0]

    assert gradcheck(run_with, [torch.tensor([0.4, 0.7], dtype=torch.float64, requires_grad=True)])


def test_as_time_steps_shrink_the_state_stands_still_at_a_rate_of_dt(make_cell, draw):
    moved = []
    for dt in (1e-2, 1e-4):
        cell, x = make_cell("lem", dt=dt), draw(1, 2, 3)
        state = generic(cell, draw, 2)
        _, last = unroll(cell, x, state)
        moved.append([(new - old).detach() for new, old in zip(last, state, strict=True)])

    for coarse, fine in zip(*moved, strict=True):
        # one step is linear in dt but for what C's own move does to h
        torch.testing.assert_close(fine * 100, coarse, rtol=0.05, atol=1e-5)


def test_many_small_steps_converge_to_the_differential_equation(make_cell, draw):
    """With x held, n steps of dt = 1/n are an explicit solver of order one: halving dt halves the distance to the limit."""
    x, ends = draw(1, 2, 3), []
    for steps in (64, 128, 256):
        cell = make_cell("lem", dt=1 / steps)
        ends.append(unroll(cell, x.expand(steps, -1, -1), generic(cell, draw, 2))[1])
    for coarse, middle, fine in zip(*ends, strict=True):
        ratio = (coarse - middle).norm() / (middle - fine).norm()
        assert ratio.item() == pytest.approx(2, rel=0.05)


def test_both_states_stay_within_one(make_cell, draw):
    cell = make_cell("lem")
    states = unroll_states(cell, 10 * draw(50, 2, 3))

    assert all(part.abs().max() <= 1 for state in states for part in state)


def test_chrono_initialisation_spreads_the_memorys_time_steps():
    cls = registry.load("lem")
    cell = cls(3, cls.Config(hidden_size=500, chrono_t_max=100), generator=torch.Generator().manual_seed(0))
    step, others = cell.bias.detach()[:500], cell.bias.detach()[500:]

    assert (1 / step.sigmoid()).min() > 2  # 1 + U(1, 99)
    assert (1 / step.sigmoid()).max() < 100
    assert others.abs().max() == 0


def test_kept_is_one_less_the_time_step(make_cell, draw):
    cell, x = make_cell("lem", dt=0.5), draw(1, 2, 3)
    gates = cell.gate_values(cell.project(x)[0], generic(cell, draw, 2))

    assert list(gates) == ["memory_step", "hidden_step"]
    assert torch.equal(cell.kept(gates), 1 - 0.5 * gates["memory_step"])
