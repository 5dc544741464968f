"""A linear recurrent network's gradient is a power: the lecture's vanishing and exploding gradients in closed form."""

from __future__ import annotations

import pytest
import torch

from carrossel.cells import State
from carrossel.cells.unrolling import unroll, unroll_states


@pytest.mark.parametrize("w", [0.5, 0.9, 1.0, 1.1, 1.5])
def test_a_scalar_networks_gradient_over_50_steps_is_w_to_the_50(w, make_cell):
    cell = make_cell("rnn", input_size=1, hidden_size=1, activation="identity")
    cell.weight_h.data.fill_(w)
    h0 = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    h, _ = unroll(cell, torch.zeros(50, 1, 1, dtype=torch.float64), State(h0))
    (gradient,) = torch.autograd.grad(h[-1].sum(), h0)

    assert gradient.item() == pytest.approx(w**50, rel=1e-13)  # 50 products, each rounded at 1e-16


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.0, 1.1, 1.5])
def test_an_orthogonal_matrix_times_alpha_scales_the_gradient_by_alpha_each_step(scale, make_cell, draw):
    cell = make_cell("rnn", input_size=1, hidden_size=8, activation="identity")
    cell.weight_h.data.copy_(scale * torch.linalg.qr(draw(8, 8)).Q)
    states = unroll_states(cell, draw(41, 3, 1))
    direction = torch.nn.functional.normalize(draw(3, 8, seed=1), dim=1)
    by_state = torch.autograd.grad((states[-1].h * direction).sum(), [state.h for state in states])

    for lag in range(41):
        norms = torch.linalg.vector_norm(by_state[40 - lag], dim=1)
        torch.testing.assert_close(norms, torch.full_like(norms, scale**lag), rtol=1e-12, atol=0)


def test_a_linear_network_has_no_layer_in_torch(make_cell):
    assert make_cell("rnn", activation="identity").fused() is None
