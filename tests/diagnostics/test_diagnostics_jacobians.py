from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fused_paths import FUSED

from carrossel.cells import State, registry
from carrossel.cells.unrolling import unroll, unroll_states
from carrossel.diagnostics.jacobians import jacobian_norms, lyapunov_exponents, step_jacobians
from carrossel.diagnostics.quantities import gradient_by_lag
from carrossel.errors import TrainingError

ALPHAS = [0.5, 0.9, 1.0, 1.1, 1.5]


def join(state):
    return state.h if state.c is None else torch.cat([state.h, state.c], dim=-1)


def split(s, cell):
    n = cell.hidden_size
    return State(s[..., :n], s[..., n:]) if cell.has_memory else State(s)


# D3


def test_a_scalar_networks_jacobians_over_50_steps_multiply_to_w_to_the_50(linear_cell, normal):
    cell, x = linear_cell(torch.tensor([[0.9]])), normal(50, 2, 1)
    cell.weight_h.data.fill_(0.9)
    norms = jacobian_norms(step_jacobians(cell, x, unroll_states(cell, x)))

    np.testing.assert_allclose(norms.step, np.full(50, 0.9), rtol=1e-14)
    np.testing.assert_allclose(norms.product, 0.9 ** np.arange(51), rtol=1e-12)  # 50 products rounded at 1e-16


@pytest.mark.parametrize("alpha", ALPHAS)
def test_k_steps_of_a_scaled_rotation_stretch_by_alpha_to_the_k(alpha, linear_cell, normal):
    cell, x = linear_cell(alpha * torch.linalg.qr(normal(6, 6)).Q), normal(40, 3, 1)
    norms = jacobian_norms(step_jacobians(cell, x, unroll_states(cell, x)))

    np.testing.assert_allclose(norms.step, np.full(40, alpha), rtol=1e-12)
    np.testing.assert_allclose(norms.product, alpha ** np.arange(41), rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "backend"), [(kind, "loop") for kind in registry.kinds()] + [each for each in FUSED if each[1] == "torch"]
)
def test_a_product_of_jacobians_is_autograd_of_the_whole_unroll(kind, backend, generic_cell, normal):
    """J_T … J_{T−k+1} = ∂s_T/∂s_{T−k}, by reverse differentiation through k steps, by the loop and the fused path."""
    cell, x = generic_cell(kind), normal(7, 2, 2, seed=3)
    states = unroll_states(cell, x)
    jacobians = step_jacobians(cell, x, states)
    size = jacobians.shape[-1]

    assert jacobians.shape == (7, 2, size, size)
    for lag in (1, 4, 6):
        start = join(states[6 - lag]).detach()
        for n in range(2):

            def end(s, n=n, lag=lag):
                return join(unroll(cell, x[7 - lag :, n : n + 1], split(s[None], cell), backend)[1])[0]

            whole = torch.autograd.functional.jacobian(end, start[n])
            product = torch.linalg.multi_dot([*jacobians[7 - lag :, n].flip(0), torch.eye(size).double()])
            torch.testing.assert_close(product, whole, rtol=1e-10, atol=1e-13)  # float64 after six products


@pytest.mark.parametrize("kind", registry.kinds())
def test_the_gradient_by_lag_is_the_losss_carried_back_through_the_jacobians(kind, generic_cell, normal):
    cell, x, pull = generic_cell(kind), normal(6, 1, 2), normal(1, 4, seed=5)
    states = unroll_states(cell, x)
    jacobians = step_jacobians(cell, x, states)[:, 0]
    (by_lag,) = gradient_by_lag((states[-1].h * pull).sum(), [states])

    back = torch.cat([pull[0], torch.zeros(jacobians.shape[-1] - 4).double()])
    for lag in range(6):
        assert by_lag.h[lag] == pytest.approx(back[:4].norm().item(), rel=1e-10)
        back = back @ jacobians[5 - lag]


def test_jacobian_norms_average_norms_over_sequences_not_jacobians():
    """Two sequences that turn opposite ways: their mean Jacobian is 0, the mean of their norms 2."""
    norms = jacobian_norms(torch.stack([2 * torch.eye(2), -2 * torch.eye(2)]).double()[None])

    assert norms.step.tolist() == [2.0]
    assert norms.product.tolist() == [1.0, 2.0]


def test_a_float32_cells_jacobians_have_its_digits(generic_cell, normal):
    cell, x = generic_cell("lstm"), normal(5, 2, 2)
    exact = step_jacobians(cell, x, unroll_states(cell, x))
    single = cell.float()
    found = step_jacobians(single, x.float(), unroll_states(single, x.float()))

    assert found.dtype == torch.float64
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-5)  # float32 over five steps


def test_the_first_step_starts_from_a_zero_state(generic_cell, normal):
    """At h = 0 the tanh network's Jacobian is (1 − h_1²) W_h."""
    cell, x = generic_cell("rnn"), normal(1, 1, 2)
    states = unroll_states(cell, x)

    expected = (1 - states[0].h[0] ** 2)[:, None] * cell.weight_h
    torch.testing.assert_close(step_jacobians(cell, x, states)[0, 0], expected.detach(), rtol=1e-13, atol=1e-15)


def test_an_infinite_jacobian_is_an_error_with_its_step(generic_cell):
    cell = generic_cell("rnn", 1, 1, activation="identity").float()
    x = torch.zeros(3, 1, 1)
    states = unroll_states(cell, x)
    cell.weight_h.data.fill_(math.inf)
    with pytest.raises(TrainingError, match=r"isn't finite at step 1"):
        step_jacobians(cell, x, states)


@pytest.mark.parametrize("measure", [step_jacobians, lyapunov_exponents])
def test_states_that_dont_fit_the_inputs_are_refused(measure, generic_cell, normal):
    cell, x = generic_cell("gru"), normal(5, 1, 2)
    with pytest.raises(ValueError, match="x has 5 steps and there are 4 states"):
        measure(cell, x, unroll_states(cell, x[:4]))


# D4


@pytest.mark.parametrize("alpha", ALPHAS)
def test_every_lyapunov_exponent_of_a_scaled_rotation_is_ln_alpha(alpha, linear_cell, normal):
    cell, x = linear_cell(alpha * torch.linalg.qr(normal(6, 6)).Q), normal(30, 2, 1)
    found = lyapunov_exponents(cell, x, unroll_states(cell, x), count=6)

    np.testing.assert_allclose(found, np.full(6, math.log(alpha)), rtol=0, atol=1e-13)


def test_exponents_of_any_constant_matrix_tend_to_the_logarithms_of_its_eigenvalues(linear_cell, normal):
    basis = normal(4, 4)
    W = basis @ torch.diag(torch.tensor([1.2, -0.8, 0.5, 0.2], dtype=torch.float64)) @ basis.inverse()
    cell, x = linear_cell(W), torch.zeros(120, 1, 1).double()
    found = lyapunov_exponents(cell, x, unroll_states(cell, x), count=4, settle=80)

    # a neighbour's share shrinks by the ratio of the eigenvalues each step: (0.8/1.2)^80 = 1e-14, (0.5/0.8)^80 less
    np.testing.assert_allclose(found, np.log([1.2, 0.8, 0.5, 0.2]), rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", registry.kinds())
def test_all_exponents_together_are_the_mean_log_determinant_of_the_jacobians(kind, generic_cell, normal):
    """det(J_T … J_1) = ± ∏ R_ii, whatever the first directions were."""
    cell, x = generic_cell(kind), normal(6, 3, 2)
    states = unroll_states(cell, x)
    jacobians = step_jacobians(cell, x, states)
    found = lyapunov_exponents(cell, x, states, count=jacobians.shape[-1])

    if torch.linalg.matrix_rank(jacobians).min() == jacobians.shape[-1]:
        expected = torch.linalg.slogdet(jacobians).logabsdet.mean().item()
        assert found.sum() == pytest.approx(expected, rel=1e-9)
    else:  # such as h = tanh(C): what a step erases is left as rounding, ln 1e-16 in at least one of the six steps
        assert found[-1] < math.log(1e-16) / 7
    assert (found[:-1] >= found[1:]).all()


def test_the_top_exponents_dont_depend_on_the_first_directions_nor_on_their_number(generic_cell, normal):
    cell, x = generic_cell("lstm"), normal(100, 1, 2)
    states = unroll_states(cell, x)
    two = lyapunov_exponents(cell, x, states, count=2, settle=60)
    three = lyapunov_exponents(cell, x, states, count=3, settle=60, generator=torch.Generator().manual_seed(1))

    assert len(two) == 2
    np.testing.assert_allclose(two, three[:2], rtol=0, atol=1e-6)  # 60 steps turn them into the same directions


def test_no_more_exponents_than_numbers_in_the_state(generic_cell, normal):
    cell, x = generic_cell("lstm", hidden_size=1), normal(3, 1, 2)

    assert len(lyapunov_exponents(cell, x, unroll_states(cell, x))) == 2  # h and C


def test_a_step_that_erases_everything_has_exponent_minus_infinity(linear_cell):
    cell, x = linear_cell(torch.zeros(2, 2)), torch.zeros(3, 1, 1).double()

    assert lyapunov_exponents(cell, x, unroll_states(cell, x)).tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("arguments", [{"count": 0}, {"settle": 3}, {"settle": -1}])
def test_exponents_of_nothing_are_refused(arguments, generic_cell, normal):
    cell, x = generic_cell("rnn"), normal(3, 1, 2)
    with pytest.raises(ValueError, match="at least one exponent and one step"):
        lyapunov_exponents(cell, x, unroll_states(cell, x), **arguments)
