"""Diagnostics of cells with options, in evaluation mode: those of the function that evaluation runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from carrossel.cells import State, registry
from carrossel.cells.unrolling import unroll, unroll_states
from carrossel.diagnostics.gates import gate_values, kept_by_lag, saturation
from carrossel.diagnostics.jacobians import jacobian_norms, step_jacobians
from carrossel.diagnostics.quantities import gradient_by_lag

OPTIONS = {"layer_norm": True, "zoneout": 0.3}


@pytest.mark.parametrize("kind", ["rnn", "lstm", "peephole", "gru", "gru_reset_after"])
def test_gradients_jacobians_and_gates_are_those_of_the_step_with_its_options(kind, generic_cell, normal):
    cell, x = generic_cell(kind, **OPTIONS).eval(), normal(5, 2, 2)
    states = unroll_states(cell, x)
    steps = step_jacobians(cell, x, states)
    gates = gate_values(cell, x, states)
    kept = cell.kept(gates)

    def last(h):
        """h_5 of the second sequence from its h_3."""
        memory = None if states[2].c is None else states[2].c[1:].detach()
        return unroll(cell, x[3:, 1:], State(h[None], memory))[0][-1, 0]

    (by_lag,) = gradient_by_lag(states[-1].h.sum(dim=1), [states])
    of_two = jacobian(last, states[2].h[1].detach())
    found = (steps[4, 1] @ steps[3, 1])[:4, :4]
    # sixteen digits, a product of two
    torch.testing.assert_close(found, of_two, rtol=1e-9, atol=1e-11)
    assert by_lag.h[0] == pytest.approx(2.0)  # of the sum of four numbers
    assert all(each.shut.min() >= 0 and each.open.max() <= 1 for each in saturation(gates).values())
    assert kept is None or np.all(np.diff(kept_by_lag(kept)) <= 0)


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_zoneout_keeps_a_share_of_the_error_at_every_step(share, linear_cell, normal):
    """h_t = s h_{t−1} + (1 − s) (w h_{t−1} + …): its gradient over k steps is (s + (1 − s) w)^k."""
    plain = linear_cell(torch.tensor([[0.5]], dtype=torch.float64))
    config = plain.config.model_copy(update={"zoneout": share})
    cell = registry.load("rnn")(1, config).double().eval()
    cell.load_state_dict(plain.state_dict())
    states = unroll_states(cell, normal(30, 2, 1))
    expected = (share + (1 - share) * 0.5) ** np.arange(31)

    np.testing.assert_allclose(jacobian_norms(step_jacobians(cell, normal(30, 2, 1), states)).product, expected)
    (by_lag,) = gradient_by_lag(states[-1].h.sum(dim=1), [states])
    np.testing.assert_allclose(by_lag.h, expected[:30])
