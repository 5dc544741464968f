"""Cells with one gate or none: against loops in numpy written from the papers, and against the cells they can become."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_cells_onnx import assert_the_same, export, open_session
from torch import nn

from carrossel.cells import State, registry
from carrossel.cells.unrolling import unroll, unroll_states
from carrossel.config import validate
from carrossel.errors import ConfigError

EXACT = {"rtol": 0, "atol": 1e-14}  # float64, the same sums in another order


def σ(a):  # noqa: PLC2401  # the equations' own name
    return 1 / (1 + np.exp(-a))


def relu(a):
    return np.maximum(a, 0)


def arrays(cell):
    return {name: value.detach().numpy() for name, value in cell.state_dict().items()}


def janet(cell, x, h):
    (W_f, W_c), (U_f, U_c), (b_f, b_c) = (np.split(arrays(cell)[name], 2) for name in ("weight_x", "weight_h", "bias"))
    s = W_f @ x + U_f @ h + b_f
    c_new = np.tanh(W_c @ x + U_c @ h + b_c)
    return σ(s) * h + (1 - σ(s - cell.config.beta)) * c_new


def mgu(cell, x, h):
    (W_f, W_h), (U_f, U_h), (b_f, b_h) = (np.split(arrays(cell)[name], 2) for name in ("weight_x", "weight_h", "bias"))
    f = σ(W_f @ x + U_f @ h + b_f)
    h_new = np.tanh(W_h @ x + U_h @ (f * h) + b_h)
    return (1 - f) * h + f * h_new


def mgu2(cell, x, h):
    own = arrays(cell)
    U_f, U_h = np.split(own["weight_h"], 2)
    f = σ(U_f @ h)
    h_new = np.tanh(own["weight_x"] @ x + U_h @ (f * h) + own["bias_candidate"])
    return (1 - f) * h + f * h_new


def mgu3(cell, x, h):
    own = arrays(cell)
    b_f, b_h = np.split(own["bias"], 2)
    f = σ(b_f)
    h_new = np.tanh(own["weight_x"] @ x + own["weight_h"] @ (f * h) + b_h)
    return (1 - f) * h + f * h_new


def irnn(cell, x, h):
    own = arrays(cell)
    return relu(own["weight_x"] @ x + own["weight_h"] @ h + own["bias"])


def indrnn(cell, x, h):
    own = arrays(cell)
    φ = relu if cell.config.activation == "relu" else np.tanh  # noqa: PLC2401  # the equations' own name
    return φ(own["weight_x"] @ x + own["weight_u"] * h + own["bias"])


STEPS = {step.__name__: step for step in (janet, mgu, mgu2, mgu3, irnn, indrnn)}
CONFIGS = [("janet", {"beta": 0}), ("janet", {"beta": 2.5}), ("indrnn", {"activation": "tanh"})]
CASES = [*((kind, {}) for kind in STEPS), *CONFIGS]


@pytest.mark.parametrize("backend", ["auto", "loop"])
@pytest.mark.parametrize(("kind", "config"), CASES)
def test_a_sequence_follows_the_equations(kind, config, backend, make_cell, draw):
    cell, x, h0 = make_cell(kind, **config), draw(8, 2, 3), draw(2, 4, seed=1).tanh()

    h, _ = unroll(cell, x, State(h0), backend)

    for n in range(2):
        expected = h0[n].numpy()
        for t in range(8):
            expected = STEPS[kind](cell, x[t, n].numpy(), expected)
            np.testing.assert_allclose(h[t, n].detach().numpy(), expected, **EXACT)


@pytest.mark.parametrize(("kind", "config"), CONFIGS)
def test_onnxruntime_gives_the_same_with_other_settings(kind, config, make_cell, draw):
    cell = make_cell(kind, dtype=torch.float32, **config)
    assert_the_same(open_session(export(cell)), cell, draw)


@pytest.mark.parametrize(
    ("kind", "operator"),
    [("janet", "Scan"), ("mgu", "GRU"), ("mgu2", "GRU"), ("mgu3", "GRU"), ("irnn", "RNN"), ("indrnn", "RNN")],
)
def test_each_is_the_operator_that_onnx_has_for_it(kind, operator, make_cell):
    operators = [node.op_type for node in export(make_cell(kind, dtype=torch.float32)).graph.node]
    assert [name for name in operators if name in ("LSTM", "GRU", "RNN", "Scan")] == [operator]


# What they can become


def same(one, other, x):
    """Outputs and gradients by x agree, each cell by its own loop."""
    found = []
    for cell in (one, other):
        point = x.clone().requires_grad_()
        h, _ = unroll(cell, point, backend="loop")
        found.append((h, torch.autograd.grad(h.square().sum(), point)[0]))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-13)  # gradients add up over ten steps


def test_the_mgu_is_a_gru_with_its_two_gates_tied(make_cell, draw):
    cell, gru = make_cell("mgu"), make_cell("gru", bias=True)
    gru.load_state_dict({name: torch.cat([value[:4], value]) for name, value in cell.state_dict().items()})

    same(cell, gru, draw(10, 4, 3))


def test_mgu2_is_an_mgu_whose_gate_sees_neither_x_nor_a_bias(make_cell, draw):
    slim, cell = make_cell("mgu2"), make_cell("mgu")
    with torch.no_grad():
        cell.weight_x.copy_(torch.cat([torch.zeros(4, 3), slim.weight_x]))
        cell.weight_h.copy_(slim.weight_h)
        cell.bias.copy_(torch.cat([torch.zeros(4), slim.bias_candidate]))

    same(slim, cell, draw(10, 4, 3))


def test_mgu3_is_an_mgu_whose_gate_sees_a_bias_alone(make_cell, draw):
    slim, cell = make_cell("mgu3"), make_cell("mgu")
    with torch.no_grad():
        cell.weight_x.copy_(torch.cat([torch.zeros(4, 3), slim.weight_x]))
        cell.weight_h.copy_(torch.cat([torch.zeros(4, 4), slim.weight_h]))
        cell.bias.copy_(slim.bias)

    same(slim, cell, draw(10, 4, 3))


def test_the_irnn_is_a_relu_network_and_torchs(make_cell, draw):
    cell, rnn, x = make_cell("irnn"), make_cell("rnn", activation="relu"), draw(10, 4, 3)
    rnn.load_state_dict(cell.state_dict())
    torchs = nn.RNN(3, 4, nonlinearity="relu", dtype=torch.float64)
    with torch.no_grad():
        torchs.weight_ih_l0.copy_(cell.weight_x)
        torchs.weight_hh_l0.copy_(cell.weight_h)
        torchs.bias_ih_l0.copy_(cell.bias)
        torchs.bias_hh_l0.zero_()

    same(cell, rnn, x)
    torch.testing.assert_close(unroll(cell, x, backend="loop")[0], torchs(x)[0], **EXACT)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_indrnn_is_a_network_with_a_diagonal_matrix(activation, make_cell, draw):
    cell, rnn = make_cell("indrnn", activation=activation), make_cell("rnn", activation=activation)
    weights = dict(cell.state_dict())
    rnn.load_state_dict({**{name: weights[name] for name in ("weight_x", "bias")}, "weight_h": cell.weight_u.diag()})

    same(cell, rnn, draw(10, 4, 3))
    assert torch.equal(cell.recurrent_blocks()["hidden"], rnn.recurrent_blocks()["hidden"])


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_janet_whose_gate_stands_still_is_a_geometric_series(beta, make_cell):
    """With f and c̃ constant, h_t = f^t h_0 + (1 − σ(s − β)) c̃ (1 − f^t) / (1 − f); with β = 0 an exponential mean of c̃."""
    cell = make_cell("janet", input_size=1, hidden_size=1, beta=beta)
    for parameter, values in (
        (cell.weight_x, [[0.0], [0.0]]),
        (cell.weight_h, [[0.0], [0.0]]),
        (cell.bias, [1.5, 0.4]),
    ):
        parameter.data.copy_(torch.tensor(values, dtype=torch.float64))
    h, _ = unroll(cell, torch.zeros(20, 1, 1).double(), State(torch.full((1, 1), -0.7, dtype=torch.float64)), "loop")

    f, written, t = σ(1.5), 1 - σ(1.5 - beta), np.arange(1, 21)
    expected = f**t * -0.7 + written * np.tanh(0.4) * (1 - f**t) / (1 - f)
    np.testing.assert_allclose(h.detach().numpy().ravel(), expected, rtol=1e-13)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_with_beta_a_janet_writes_more_than_it_forgets(beta, make_cell):
    """With c̃ constant, h ends at c̃ (1 − σ(s − β)) / (1 − σ(s)): at c̃ itself for β = 0, beyond it above."""
    cell = make_cell("janet", input_size=1, hidden_size=1, beta=beta)
    cell.weight_x.data.zero_()
    cell.weight_h.data.zero_()
    cell.bias.data.copy_(torch.tensor([0.0, 0.4], dtype=torch.float64))
    h, _ = unroll(cell, torch.zeros(100, 1, 1).double())

    assert h[-1].item() == pytest.approx(2 * σ(beta) * np.tanh(0.4), rel=1e-12)


def test_the_gradient_of_an_active_unit_of_an_indrnn_is_a_power_of_u(make_cell):
    cell, start = make_cell("indrnn", input_size=1, hidden_size=2), torch.ones(1, 2).double().requires_grad_()
    cell.weight_u.data.copy_(torch.tensor([0.5, 1.25]))
    cell.bias.data.fill_(1.0)
    states = unroll_states(cell, torch.zeros(30, 1, 1).double(), State(start))
    (by_start,) = torch.autograd.grad(states[-1].h.sum(), start)

    torch.testing.assert_close(by_start, torch.tensor([[0.5**30, 1.25**30]], dtype=torch.float64), rtol=1e-13, atol=0)


# How they start


def fresh(kind, hidden_size=100, **config):
    cls = registry.load(kind)
    return cls(3, cls.Config(hidden_size=hidden_size, **config), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_an_irnn_starts_from_the_scaled_identity(scale):
    cell = fresh("irnn", 6, scale=scale)

    assert torch.equal(cell.weight_h, scale * torch.eye(6))
    assert not cell.bias.any()


@pytest.mark.parametrize("std", [0.001, 0.2])
def test_an_irnns_input_weights_start_small_and_normal(std):
    cell = fresh("irnn", 1000, input_std=std)

    assert cell.weight_x.std().item() == pytest.approx(std, rel=0.05)  # 3000 draws have a standard error of 1.3 %
    assert cell.weight_x.abs().max().item() > 3 * std  # a uniform of that deviation ends at 1.7


def test_before_training_an_irnn_adds_up_what_keeps_it_active(draw):
    cell, x = fresh("irnn", 5).double(), draw(6, 2, 3)
    cell.weight_x.data.abs_()
    h, _ = unroll(cell, x.abs(), backend="loop")

    torch.testing.assert_close(h, (x.abs() @ cell.weight_x.T).cumsum(0), rtol=1e-13, atol=0)


@pytest.mark.parametrize(("t_max", "bound"), [(None, 1.0), (1, 2.0), (60, 2 ** (1 / 60))])
def test_an_indrnns_recurrent_weights_start_uniform_from_zero_to_their_bound(t_max, bound):
    u = fresh("indrnn", 2000, recurrent_t_max=t_max).weight_u.detach()

    assert 0 <= u.min() < 0.01 * bound
    assert 0.99 * bound < u.max() <= bound
    assert u.mean().item() == pytest.approx(bound / 2, rel=0.04)  # 2000 draws have a standard error of 1.3 %


def test_a_recurrent_weight_acts_within_its_bound_and_can_come_back(make_cell, draw):
    free, held = (make_cell("indrnn", activation="tanh", recurrent_t_max=t_max) for t_max in (None, 4))
    for cell, values in ((free, [2**0.25, -(2**0.25), 0.5, -0.5]), (held, [3.0, -3.0, 0.5, -0.5])):
        cell.weight_u.data.copy_(torch.tensor(values, dtype=torch.float64))
    x = draw(6, 2, 3)
    outputs = [unroll(cell, x, backend=backend)[0] for cell in (free, held) for backend in ("loop", "auto")]

    for each in outputs[1:]:
        torch.testing.assert_close(each, outputs[0], rtol=1e-13, atol=1e-15)
    by_free, by_held = (
        torch.autograd.grad(h.sum(), c.weight_u)[0] for c, h in ((free, outputs[0]), (held, outputs[2]))
    )
    torch.testing.assert_close(by_held, by_free, rtol=1e-12, atol=1e-13)
    assert by_free.abs().min() > 0


@pytest.mark.parametrize("kind", ["mgu", "mgu3"])
def test_chrono_bias_of_a_minimal_gate_shuts_it_since_it_forgets_when_open(kind):
    forget, candidate = fresh(kind, chrono_t_max=101).bias.detach().chunk(2)
    scales = (-forget).exp()

    assert 1 <= scales.min() < 8
    assert 93 < scales.max() <= 100
    assert not candidate.any()
    assert not fresh(kind).bias.any()


def test_a_gate_without_a_bias_has_no_chrono_initialisation():
    with pytest.raises(ConfigError, match=r"cells\.mgu2\.chrono_t_max = 50: unknown key"):
        validate({"chrono_t_max": 50}, registry.load("mgu2").Config, "cells.mgu2")


# Options that an IndRNN, with no product of h, applies itself


def test_recurrent_dropout_of_an_indrnn_cuts_units_off_from_their_own_past(make_cell, draw):
    cell, x = make_cell("indrnn", recurrent_dropout=0.5), draw(8, 20, 3)
    torch.manual_seed(0)
    h, _ = unroll(cell.train(), x)
    alone = cell.project(x).relu()
    doubled = make_cell("indrnn")
    doubled.weight_u.data.mul_(2)  # kept units are scaled by 1 / (1 − 0.5)
    kept, _ = unroll(doubled, x)

    cut = torch.isclose(h, alone).all(dim=0)
    assert 20 < cut.sum() < 60  # of 80 (sequence, unit), 40 expected
    torch.testing.assert_close(h[:, ~cut], kept[:, ~cut], rtol=1e-13, atol=1e-15)
    assert torch.equal(unroll(cell.eval(), x)[0], unroll(make_cell("indrnn"), x)[0])


def test_layer_norm_of_an_indrnn_is_of_the_sum_over_units(make_cell, draw):
    cell, x, h0 = make_cell("indrnn", layer_norm=True), draw(1, 2, 3), draw(2, 4, seed=1)
    own = arrays(cell)
    h, _ = unroll(cell, x, State(h0))

    for n in range(2):
        sums = own["weight_x"] @ x[0, n].numpy() + own["weight_u"] * h0[n].numpy()
        normal = (sums - sums.mean()) / np.sqrt(sums.var() + 1e-5)
        np.testing.assert_allclose(h[0, n].detach().numpy(), relu(own["gain"] * normal + own["bias"]), **EXACT)
