"""The fused path and the loop give the same diagnostics: one sequence, run by either, measured the same way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fused_paths import FUSED, PATHS

from carrossel.cells.unrolling import unroll, unroll_states
from carrossel.diagnostics.gates import gate_values, kept_by_lag, saturation
from carrossel.diagnostics.jacobians import jacobian_norms, lyapunov_exponents, step_jacobians
from carrossel.diagnostics.quantities import gradient_by_lag, sensitivity_by_lag

STEPS_TOO = {"lstm", "gru", "rnn"}  # D3 and D4 only see the states, and take most of the time


def fused_states(cell, x, backend):
    """The state after each step, each step run by the fused path: nodes on the path of the gradient."""
    states, state = [], None
    for step in x.split(1):
        _, state = unroll(cell, step, state, backend)
        states.append(state)
    return states


def measure_steps(cell, x, states):
    norms = jacobian_norms(step_jacobians(cell, x, states))
    return {
        "D3 step": norms.step,
        "D3 product": norms.product,
        "D4": lyapunov_exponents(cell, x, states, count=2),
    }


def measure(cell, x, states):
    gates = gate_values(cell, x, states)
    kept = cell.kept(gates)
    # of C, D1 counts the path through h_t, which a fused step's C_t isn't on
    (by_lag,) = gradient_by_lag(states[-1].h.square().sum(dim=1), [states])
    return {
        "D1": by_lag.h,
        **(measure_steps(cell, x, states) if cell.kind in STEPS_TOO else {}),
        "states": torch.stack([state.h for state in states]).detach().numpy(),
        **{f"D6 {name}": np.stack(found) for name, found in saturation(gates).items()},
        **({} if kept is None else {"D8": kept_by_lag(kept)}),
    }


@pytest.mark.parametrize(("kind", "path"), FUSED)
def test_the_fused_path_gives_the_loops_diagnostics(kind, path, generic_cell, normal):
    dtype, tolerance = PATHS[path]
    cell, x = generic_cell(kind), normal(12, 5, 2)
    by_loop = measure(cell, x, unroll_states(cell, x))
    fused, x = cell.to(dtype), x.to(dtype)
    by_fused = measure(fused, x, fused_states(fused, x, path))

    assert by_fused.keys() == by_loop.keys()
    for name, values in by_loop.items():
        np.testing.assert_allclose(by_fused[name], values, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(("kind", "path"), FUSED)
def test_the_forecasts_sensitivity_is_the_same_through_the_fused_path(kind, path, generic_cell, normal):
    """D2 needs no states, so here the whole sequence goes through the kernel or the layer in one call."""
    dtype, tolerance = PATHS[path]
    cell, x = generic_cell(kind), normal(12, 5, 2)
    found = []
    for backend, numbers in (("loop", torch.float64), (path, dtype)):
        window = x.to(numbers).requires_grad_()
        h, _ = unroll(cell.to(numbers), window, backend=backend)
        found.append(sensitivity_by_lag(h[-1].square().sum(dim=1), window))

    np.testing.assert_allclose(found[1], found[0], rtol=tolerance, atol=tolerance)
