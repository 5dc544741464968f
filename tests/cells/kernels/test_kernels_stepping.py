from __future__ import annotations

import pytest
import torch
from kernel_kinds import DISTINCT

from carrossel.cells.kernels.stepping import Stepper
from carrossel.cells.unrolling import unroll
from carrossel.errors import ConfigError


@pytest.mark.parametrize("kind", DISTINCT)
@pytest.mark.parametrize("hidden", [1, 7, 64, 130])
def test_steps_are_those_of_the_whole_sequence(kind, hidden, problem):
    each = problem(kind, 1, 9, 3, hidden)
    expected = each.double, each.x.double(), type(each.state)(*(p if p is None else p.double() for p in each.state))
    exact, last = unroll(*expected, backend="loop")
    stepper = Stepper(each.single)
    stepper.set_state(each.state)
    for x, h in zip(each.x, exact, strict=True):
        stepper.x[:] = x[0].numpy()
        torch.testing.assert_close(torch.from_numpy(stepper()).double(), h[0].detach(), rtol=0, atol=1e-5)  # float32
    if last.c is not None:
        torch.testing.assert_close(stepper.state().c.double(), last.c.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", DISTINCT)
def test_sequences_step_side_by_side(kind, problem):
    each = problem(kind, 5, 6, 3, 9)
    exact, _ = unroll(each.double, each.x.double(), backend="loop")
    stepper = Stepper(each.single, sequences=5)
    for x, h in zip(each.x, exact, strict=True):
        stepper.x[:] = x.numpy()
        torch.testing.assert_close(torch.from_numpy(stepper()).double(), h.detach(), rtol=0, atol=1e-5)  # float32


def test_it_starts_from_zeros(problem):
    each = problem("lstm", 1, 1, 3, 4)
    stepper = Stepper(each.single)
    stepper.x[:] = each.x[0, 0].numpy()

    torch.testing.assert_close(
        torch.from_numpy(stepper()), unroll(each.single, each.x)[0][0, 0].detach(), rtol=0, atol=1e-6
    )


def test_a_state_given_out_doesnt_change_with_the_next_step(problem):
    stepper = Stepper(problem("gru", 1, 1, 3, 4).single)
    stepper.x[:] = 1
    stepper()
    state = stepper.state()
    before = state.h.clone()
    stepper()

    assert torch.equal(state.h, before)


def test_what_cannot_step_is_refused(problem):
    with pytest.raises(ConfigError, match="a lstm cell steps only as float32 on the CPU"):
        Stepper(problem("lstm", 1, 1, 3, 4).double)
