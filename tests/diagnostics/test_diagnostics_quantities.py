from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from carrossel.cells import registry
from carrossel.cells.unrolling import unroll_stack
from carrossel.diagnostics.curves import fading
from carrossel.diagnostics.quantities import (
    gradient_by_lag,
    gradient_norms,
    sensitivity_by_lag,
    snapshot,
    spectrum,
    update_ratios,
)
from carrossel.errors import TrainingError


def cell_of(kind, input_size, hidden_size, seed=0, **config):
    cls = registry.load(kind)
    generator = torch.Generator().manual_seed(seed)
    return cls(input_size, cls.Config(hidden_size=hidden_size, **config), generator=generator).double()


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_network(weight_h):
    cell = cell_of("rnn", 1, len(weight_h), activation="identity")
    cell.weight_h.data.copy_(weight_h)
    return cell


# D1


@pytest.mark.parametrize("alpha", [0.5, 0.9, 1.0, 1.1, 1.5])
def test_gradient_by_lag_of_a_scaled_rotation_is_alpha_to_the_k(alpha):
    cell = linear_network(alpha * torch.linalg.qr(normal(6, 6)).Q)
    states = unroll_stack([cell], normal(51, 4, 1))
    direction = torch.nn.functional.normalize(normal(4, 6, seed=1), dim=1)

    (found,) = gradient_by_lag((states[-1][-1].h * direction).sum(dim=1), states)

    np.testing.assert_allclose(found.h, alpha ** np.arange(51), rtol=1e-12)  # 50 products rounded at 1e-16
    assert found.c is None
    assert fading(found.h).slope == pytest.approx(math.log(alpha), abs=1e-12)


def test_a_scalar_networks_gradient_at_lag_50_is_w_to_the_50():
    states = unroll_stack(
        [linear_network(torch.tensor([[0.9]], dtype=torch.float64))], torch.zeros(51, 1, 1, dtype=torch.float64)
    )

    assert gradient_by_lag(states[0][-1].h, states)[0].h[50] == pytest.approx(0.9**50, rel=1e-12)


def test_gradient_by_lag_averages_norms_not_gradients():
    """Two sequences with opposite gradients: their mean gradient is 0, the mean of their norms is 2."""
    states = unroll_stack([linear_network(torch.eye(2))], torch.zeros(3, 2, 1, dtype=torch.float64))
    pull = torch.tensor([[2.0, 0.0], [-2.0, 0.0]], dtype=torch.float64)

    assert gradient_by_lag((states[0][-1].h * pull).sum(), states)[0].h.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("kind", registry.kinds())
def test_gradient_by_lag_is_an_explicit_derivative_by_an_added_disturbance(kind):
    """∂L/∂s of a state is ∂L/∂ε where ε is added to it: a second graph, built here step by step through two layers."""
    cells = [cell_of(kind, 2, 3), cell_of(kind, 3, 4, seed=1)]
    x, batch, steps = normal(6, 5, 2), 5, 6
    states = unroll_stack(cells, x)
    found = gradient_by_lag(states[-1][-1].h.square().sum(dim=1).tanh(), states)

    added, below = [], list(x)
    for cell in cells:
        zero = torch.zeros(steps, batch, cell.hidden_size, dtype=torch.float64, requires_grad=True)
        state, above = cell.initial_state(batch), []
        for t in range(steps):
            state = cell.step(cell.project(below[t][None])[0], state)
            state = state._replace(h=state.h + zero[t])
            above.append(state.h)
        added.append(zero)
        below = above
    loss = below[-1].square().sum(dim=1).tanh().sum()
    explicit = torch.autograd.grad(loss, added)

    for layer, by_disturbance in zip(found, explicit, strict=True):
        norms = torch.linalg.vector_norm(by_disturbance, dim=-1).mean(dim=-1).flip(0)
        # 1e-10 of float64's 1e-16. C, were it disturbed here after h was made from it, would lack the path
        # h_t = o_t * tanh(C_t); it is compared in the next test.
        np.testing.assert_allclose(layer.h, norms.numpy(), rtol=1e-10, atol=1e-15)


def test_gradient_by_lag_is_what_a_hand_written_lstm_retains():
    cell, x = cell_of("lstm", 2, 3), normal(6, 5, 2)
    (found,) = gradient_by_lag((unrolled := unroll_stack([cell], x))[0][-1].h.square().sum(), unrolled)

    W = torch.cat([cell.weight_h, cell.weight_x], dim=1)
    h, C = torch.zeros(5, 3, dtype=torch.float64), torch.zeros(5, 3, dtype=torch.float64)
    kept = []
    for t in range(6):
        i, f, new, o = (torch.cat([h, x[t]], dim=1) @ W.T + cell.bias).chunk(4, dim=1)
        C = torch.sigmoid(f) * C + torch.sigmoid(i) * torch.tanh(new)
        h = torch.sigmoid(o) * torch.tanh(C)
        h.retain_grad()
        C.retain_grad()
        kept.append((h, C))
    h.square().sum().backward()

    for lag, (h, C) in enumerate(reversed(kept)):
        assert found.h[lag] == pytest.approx(h.grad.norm(dim=1).mean().item(), rel=1e-10)
        assert found.c[lag] == pytest.approx(C.grad.norm(dim=1).mean().item(), rel=1e-10)


def test_the_memorys_gradient_of_an_lstm_with_open_gates_has_a_closed_form():
    """Forget gate open, input gate shut, no recurrent weights: ∂L/∂C_{T−k} = σ(20)^k · o · (1 − tanh²C_T)."""
    cell = cell_of("lstm", 1, 1)
    for parameter in cell.parameters():
        parameter.data.zero_()
    cell.bias.data.copy_(torch.tensor([-20.0, 20.0, 0.0, 0.0]))
    states = unroll_stack([cell], torch.zeros(30, 1, 1, dtype=torch.float64))

    (found,) = gradient_by_lag(states[0][-1].h, states)

    forget = 1 / (1 + math.exp(-20))
    np.testing.assert_allclose(found.c, 0.5 * forget ** np.arange(30), rtol=1e-12)
    np.testing.assert_array_equal(found.h, [1.0] + [0.0] * 29)  # h is used by the loss at the end alone


@pytest.mark.parametrize("kind", ["lstm", "fgr", "slstm"])
def test_the_gradient_by_c_is_of_the_memory_whatever_else_lies_in_c(kind):
    """No weights and gates that stand still at f: what h_T has of C_T comes back as f^k, from lag 0 on."""
    cell = cell_of(kind, 1, 2)
    for parameter in cell.parameters():
        parameter.data.zero_()
    bias = cell.bias.data.view(len(cell.gates), 2)
    bias[cell.gates.index("forget")], bias[cell.gates.index("candidate")] = 2.0, 0.5
    states = unroll_stack([cell], torch.zeros(8, 3, 1, dtype=torch.float64))

    (found,) = gradient_by_lag(states[0][-1].h, states)

    assert found.c[0] > 0
    np.testing.assert_allclose(found.c / found.c[0], (1 / (1 + math.exp(-2))) ** np.arange(8), rtol=1e-12)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_gradient_by_lag_leaves_the_parameters_gradients_alone(kind):
    cell = cell_of(kind, 1, 2)
    cell.weight_h.grad = torch.full_like(cell.weight_h, 7.0)
    states = unroll_stack([cell], normal(4, 2, 1))
    gradient_by_lag(states[0][-1].h, states)

    assert torch.equal(cell.weight_h.grad, torch.full_like(cell.weight_h, 7.0))
    assert cell.weight_x.grad is None


def test_a_loss_that_ignores_the_upper_layer_gives_it_a_zero_gradient():
    cells = [cell_of("lstm", 1, 2), cell_of("lstm", 2, 2, seed=1)]
    states = unroll_stack(cells, normal(3, 2, 1))
    lower, upper = gradient_by_lag(states[0][-1].h, states)

    assert upper.h.tolist() == upper.c.tolist() == [0.0, 0.0, 0.0]
    assert lower.h[0] > 0


def test_a_vanishing_float32_gradient_is_measured_down_to_1e_37():
    cell = linear_network(torch.tensor([[1e-3]])).float()
    states = unroll_stack([cell], torch.zeros(20, 1, 1))
    (found,) = gradient_by_lag(states[0][-1].h, states)

    np.testing.assert_allclose(found.h[:13], 1e-3 ** np.arange(13.0), rtol=1e-5)  # float32
    assert found.h[19] == 0  # 1e-57 is zero in float32
    assert fading(found.h).slope == pytest.approx(math.log(1e-3), rel=1e-5)


def test_an_infinite_gradient_is_an_error_with_layer_and_lag():
    cell = linear_network(torch.tensor([[1e20]])).float()
    states = unroll_stack([cell], torch.zeros(5, 1, 1))
    with pytest.raises(TrainingError, match=r"∂L/∂h of layer 0 isn't finite at lag 2"):  # 1e40 > 3.4e38
        gradient_by_lag(states[0][-1].h, states)


# D2


def test_a_linear_networks_forecast_depends_on_lag_k_by_w_to_the_k():
    """ŷ = h_T with h_t = w h_{t−1} + u x_t: ∂ŷ/∂x_{T−k} = u w^k."""
    cell = linear_network(torch.tensor([[0.9]], dtype=torch.float64))
    cell.weight_x.data.fill_(-2.0)
    x = normal(51, 3, 1).requires_grad_()
    found = sensitivity_by_lag(unroll_stack([cell], x)[-1][-1].h[:, 0], x)

    np.testing.assert_allclose(found, 2 * 0.9 ** np.arange(51), rtol=1e-12)


def test_sensitivity_is_a_norm_over_features_and_outputs_and_a_mean_over_sequences():
    """Two outputs of one bar, a = 3 x_1 + 4 x_2 and b = 12 x_1 of the first sequence, nothing of the second."""
    x = normal(1, 2, 2).requires_grad_()
    outputs = torch.stack([x[0] @ torch.tensor([3.0, 4.0]).double(), 12 * x[0, :, 0]], dim=1)
    outputs = outputs * torch.tensor([[1.0], [0.0]])

    assert sensitivity_by_lag(outputs, x).tolist() == [13 / 2]
    assert sensitivity_by_lag(outputs[:, 0], x).tolist() == [5 / 2]


def test_a_forecast_of_the_first_bar_alone_depends_on_the_longest_lag():
    x = normal(4, 2, 1).requires_grad_()

    assert sensitivity_by_lag(x[0, :, 0], x).tolist() == [0.0, 0.0, 0.0, 1.0]


def test_a_forecast_that_ignores_its_window_has_no_sensitivity():
    x = normal(3, 2, 1).requires_grad_()

    assert sensitivity_by_lag(torch.zeros(2, requires_grad=True), x).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", registry.kinds())
def test_sensitivity_agrees_with_differences(kind):
    cell, x = cell_of(kind, 2, 3), normal(5, 1, 2)

    def forecast(window):
        return unroll_stack([cell], window)[-1][-1].h.sum(dim=1)

    found = sensitivity_by_lag(forecast(window := x.clone().requires_grad_()), window)
    for t in range(5):
        moved = []
        for feature in range(2):
            bump = torch.zeros_like(x)
            bump[t, 0, feature] = 1e-5
            moved.append((forecast(x + bump) - forecast(x - bump)).item() / 2e-5)
        # central differences: errors of 1e-10 (the step squared) and of 1e-11 (rounding over the step)
        assert found[4 - t] == pytest.approx(math.hypot(*moved), rel=1e-5, abs=1e-9)


def test_sensitivity_to_windows_without_a_gradient_is_refused():
    with pytest.raises(ValueError, match="requires_grad_"):
        sensitivity_by_lag(torch.zeros(2, requires_grad=True), torch.zeros(3, 2, 1))


def test_an_infinite_sensitivity_is_an_error_with_its_lag():
    x = torch.zeros(2, 1, 1, requires_grad=True)
    with pytest.raises(TrainingError, match="∂ŷ/∂x isn't finite at lag 1"):
        sensitivity_by_lag((x[0, 0] / 1e-30) / 1e-30 + x[1, 0], x)


# D5


def test_spectrum_of_a_scaled_orthogonal_matrix_is_its_scale():
    block = 1.3 * torch.linalg.qr(normal(7, 7)).Q
    (found,) = spectrum({"hidden": block})

    assert found.gate == "hidden"
    assert found.spectral_radius == pytest.approx(1.3, rel=1e-12)
    assert found.largest_singular_value == pytest.approx(1.3, rel=1e-12)


def test_spectrum_goes_block_by_block_and_tells_radius_from_singular_value():
    rotation = torch.tensor([[0.0, -2.0], [2.0, 0.0]])  # eigenvalues ±2i
    nilpotent = torch.tensor([[0.0, 5.0], [0.0, 0.0]])  # eigenvalues 0, singular values 5 and 0
    found = spectrum({"update": rotation, "candidate": nilpotent})

    assert [each.gate for each in found] == ["update", "candidate"]
    assert [each.spectral_radius for each in found] == pytest.approx([2.0, 0.0])
    assert [each.largest_singular_value for each in found] == pytest.approx([2.0, 5.0])


def test_spectrum_of_no_blocks_is_empty():
    assert spectrum({}) == []


def test_a_block_that_isnt_square_is_refused():
    with pytest.raises(ValueError, match=r"'update' is \[4, 2\]; expected \[hidden, hidden\]"):
        spectrum({"update": torch.zeros(4, 2)})


# D7


def test_gradient_norms_are_named_by_tensor_and_zero_without_a_gradient():
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])

    assert gradient_norms(layer) == {"weight": 5.0, "bias": 0.0}


def test_a_tiny_gradients_norm_doesnt_underflow_in_the_square():
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.grad = torch.tensor([[1e-30]])

    assert gradient_norms(layer)["weight"] == pytest.approx(1e-30, rel=1e-6)  # float32's own digits


def test_update_ratio_is_the_change_over_the_size_before():
    layer = torch.nn.Linear(2, 1)
    layer.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    layer.bias.data.zero_()
    before = snapshot(layer)
    layer.weight.data += torch.tensor([[0.0, 0.5]])

    assert update_ratios(before, layer) == {"weight": 0.1, "bias": 0.0}


def test_the_first_update_of_a_zero_bias_has_ratio_one():
    layer = torch.nn.Linear(2, 1)
    layer.bias.data.zero_()
    before = snapshot(layer)
    layer.bias.data += 0.25

    assert update_ratios(before, layer) == {"weight": 0.0, "bias": 1.0}
