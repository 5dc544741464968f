"""minGRU and minLSTM: the paper's equations step by step, and all steps at once by a scan, are the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from carrossel.cells import Cell, State, registry
from carrossel.cells.unrolling import scan as scanning
from carrossel.cells.unrolling import unroll
from carrossel.cells.unrolling.scan import scan
from carrossel.config import validate
from carrossel.errors import ConfigError

KINDS = [kind for kind in registry.kinds() if registry.load(kind).coefficients is not Cell.coefficients]
kinds = pytest.mark.parametrize("kind", KINDS)


def σ(a):  # noqa: PLC2401  # the equations' own name
    return 1 / (1 + np.exp(-a))


def g(a, positive):
    return np.where(a >= 0, a + 0.5, σ(a)) if positive else a


def maps(cell, x):
    """W x + b by gate."""
    W, b = (np.split(each.detach().numpy(), len(cell.gates)) for each in (cell.weight_x, cell.bias))
    return {gate: W[k] @ x + b[k] for k, gate in enumerate(cell.gates)}


def mingru(cell, x, h, positive):
    a = maps(cell, x)
    z = σ(a["update"])
    return (1 - z) * h + z * g(a["candidate"], positive)


def minlstm(cell, x, h, positive):
    a = maps(cell, x)
    f, i = σ(a["forget"]), σ(a["input"])
    return f / (f + i) * h + i / (f + i) * g(a["candidate"], positive)


EQUATIONS = {"mingru": mingru, "minlstm": minlstm}


@pytest.fixture(params=["one by one", "doubling"])
def _each_way(request, monkeypatch):
    """Both ways of computing a scan, whatever the device would choose."""
    monkeypatch.setattr(scanning, "_one_by_one", lambda _b: request.param == "one by one")


each_way = pytest.mark.usefixtures("_each_way")


def by_loop(a, b, first):
    states = []
    for a_t, b_t in zip(a, b, strict=True):
        first = a_t * first + b_t
        states.append(first)
    return torch.stack(states)


def recurrence(draw, time, batch=3, hidden=4):
    return draw(time, batch, hidden).sigmoid(), draw(time, batch, hidden, seed=1), draw(batch, hidden, seed=2)


def test_these_kinds_run_by_a_scan():
    assert set(EQUATIONS) == set(KINDS)


@each_way
@pytest.mark.parametrize("backend", ["auto", "loop", "torch"])
@pytest.mark.parametrize("positive", [False, True])
@kinds
def test_every_backend_computes_the_papers_equations(kind, positive, backend, make_cell, draw):
    cell, x, h = make_cell(kind, positive=positive), draw(13, 2, 3), draw(2, 4, seed=1)
    expected = np.empty((13, 2, 4))
    for k in range(2):
        state = h[k].numpy()
        for t in range(13):
            expected[t, k] = state = EQUATIONS[kind](cell, x[t, k].numpy(), state, positive)
    found, last = unroll(cell, x, State(h), backend)

    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=1e-14)
    assert torch.equal(last.h, found[-1])


@each_way
@pytest.mark.parametrize("time", [1, 2, 3, 7, 8, 21])
def test_a_scan_is_the_loop_with_its_gradients(time, draw):
    inputs = [each.requires_grad_() for each in recurrence(draw, time)]
    weight = draw(time, 3, 4, seed=5)
    ours, loop = scan(*inputs), by_loop(*inputs)

    torch.testing.assert_close(ours, loop, rtol=0, atol=1e-12)
    found, expected = (torch.autograd.grad((h * weight).sum(), inputs, create_graph=True) for h in (ours, loop))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    second = [
        torch.autograd.grad(sum(each.square().sum() for each in first), inputs, materialize_grads=True)
        for first in (found, expected)
    ]
    torch.testing.assert_close(second[0], second[1], rtol=1e-12, atol=1e-12)


@each_way
def test_first_and_second_derivatives_agree_with_differences(draw):
    inputs = [each.requires_grad_() for each in recurrence(draw, 5, batch=1, hidden=2)]

    assert gradcheck(scan, inputs)
    assert gradgradcheck(scan, inputs)


def test_third_derivatives_exist(draw):
    inputs = [each.requires_grad_() for each in recurrence(draw, 4, batch=1, hidden=1)]
    totals = []
    for run in (scan, by_loop):
        total = run(*inputs).square().sum()
        for _ in range(3):
            total = sum(each.square().sum() for each in torch.autograd.grad(total, inputs, create_graph=True))
        totals.append(total.item())

    assert totals[0] == pytest.approx(totals[1], rel=1e-10)  # three rounds of squares lose some digits


@each_way
def test_a_thousand_steps_in_float32_stay_near_float64(draw):
    a, b, first = recurrence(draw, 1000)
    a = 1 - a**4 / 10  # memories of ten to thousands of steps
    exact = by_loop(a, (1 - a) * b, first)
    rounded = scan(a.float(), ((1 - a) * b).float(), first.float())

    assert (rounded.double() - exact).abs().max() < 1e-5


@kinds
def test_a_thousand_steps_of_a_float32_cell_stay_near_its_float64_loop(kind, make_cell, draw):
    x = draw(1000, 2, 3)
    exact, _ = unroll(make_cell(kind), x, backend="loop")
    rounded, _ = unroll(make_cell(kind, dtype=torch.float32), x.float())

    assert (rounded.double() - exact).abs().max() < 1e-5


@each_way
def test_what_decayed_to_nothing_stays_a_number(draw):
    a, b, first = recurrence(draw, 300)
    a = (
        a * 1e-4
    ).requires_grad_()  # products of a underflow after a few dozen steps; sums of logarithms wouldn't forget
    found = scan(a, b, first)
    (by_a,) = torch.autograd.grad(found.sum(), a)

    torch.testing.assert_close(found, by_loop(a, b, first), rtol=0, atol=1e-15)
    assert by_a.isfinite().all()


@kinds
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_chunks_carry_the_state_and_its_gradient(kind, cut, make_cell, draw):
    cell, x = make_cell(kind), draw(9, 2, 3).requires_grad_()
    whole, _ = unroll(cell, x)
    first, between = unroll(cell, x[:cut])
    second, _ = unroll(cell, x[cut:], between)
    by_whole, by_chunks = (torch.autograd.grad(h[-1].sum(), x)[0] for h in (whole, second))

    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(by_chunks, by_whole, rtol=0, atol=1e-14)


@each_way
@kinds
def test_x_may_have_any_strides_and_no_sequence_at_all(kind, make_cell, draw):
    cell, x = make_cell(kind), draw(2, 6, 3)
    strided, _ = unroll(cell, x.transpose(0, 1))
    nothing, last = unroll(cell, x[:, :0])

    torch.testing.assert_close(strided, unroll(cell, x.transpose(0, 1).contiguous())[0], rtol=0, atol=1e-15)
    assert nothing.shape == (2, 0, 4)
    assert last.h.shape == (0, 4)


@kinds
def test_a_state_of_another_batch_is_refused(kind, make_cell, draw):
    with pytest.raises(ValueError, match=r"h has shape \[1, 4\]; expected \[2, 4\]"):
        unroll(make_cell(kind), draw(3, 2, 3), State(draw(1, 4)))


@kinds
def test_a_gate_that_is_shut_for_both_old_and_new_gives_numbers(kind, make_cell, draw):
    cell = make_cell(kind, dtype=torch.float32)
    cell.bias.data.fill_(-200)  # σ of it is 0 in float32
    h, _ = unroll(cell, draw(3, 2, 3).float(), State(torch.ones(2, 4)))
    found = torch.autograd.grad(h.sum(), list(cell.parameters()))

    assert h.isfinite().all()
    assert all(each.isfinite().all() for each in found)


@kinds
def test_recurrent_dropout_is_refused_since_there_is_no_recurrent_product(kind):
    with pytest.raises(ConfigError, match=r"recurrent_dropout = 0\.3 drops h in recurrent products"):
        validate({"recurrent_dropout": 0.3}, registry.load(kind).Config, f"cells.{kind}")


@kinds
def test_layer_normalisation_gives_each_gates_sum_mean_0_and_deviation_1_and_still_scans(kind, make_cell, draw):
    cell, x = make_cell(kind, hidden_size=50, layer_norm=True), draw(7, 2, 3)
    cell.gain.data.fill_(1)
    cell.bias.data.zero_()
    for block in cell.project(x).chunk(len(cell.gates), dim=-1):
        torch.testing.assert_close(block.mean(-1), torch.zeros(7, 2).double(), rtol=0, atol=1e-14)
        # layer_norm adds 1e-5 to a variance of about 1
        torch.testing.assert_close(block.std(-1, correction=0), torch.ones(7, 2).double(), rtol=0, atol=1e-4)

    assert not cell.needs_loop
    torch.testing.assert_close(unroll(cell, x)[0], unroll(cell, x, backend="loop")[0], rtol=0, atol=1e-14)


@kinds
def test_layer_normalisation_of_a_single_feature_is_refused(kind):
    cls = registry.load(kind)
    with pytest.raises(ConfigError, match="of a single feature"):
        cls(1, cls.Config(layer_norm=True))


@kinds
def test_zoneout_falls_back_to_the_loop(kind, make_cell, draw):
    cell, x = make_cell(kind, zoneout=0.5).eval(), draw(4, 2, 3)
    plain = make_cell(kind)
    h = torch.zeros(2, 4).double()
    for projected in plain.project(x):
        h = (h + plain.step(projected, State(h)).h) / 2

    torch.testing.assert_close(unroll(cell, x)[1].h, h, rtol=0, atol=1e-15)


def test_chrono_initialisation_makes_the_share_kept_the_gate_that_was_drawn():
    cls = registry.load("minlstm")
    cell = cls(3, cls.Config(hidden_size=500, chrono_t_max=100), generator=torch.Generator().manual_seed(0)).double()
    gates = cell.gate_values(cell.bias.detach()[None], cell.initial_state(1))
    kept = cell.kept(gates)
    scales = 1 / (1 - kept)

    torch.testing.assert_close(kept, gates["forget"], rtol=1e-6, atol=0)  # the bias was drawn in float32
    assert scales.min() > 2  # 1 + U(1, 99): σ(log u) = u / (1 + u)
    assert scales.max() < 100


def test_chrono_initialisation_of_the_minimal_gru_is_its_update_gates():
    cls = registry.load("mingru")
    cell = cls(3, cls.Config(hidden_size=500, chrono_t_max=100), generator=torch.Generator().manual_seed(0)).double()
    scales = 1 / cell.gate_values(cell.bias.detach()[None], cell.initial_state(1))["update"]

    assert scales.min() > 2
    assert scales.max() < 100


def test_the_minimal_lstm_with_opposite_gates_is_the_minimal_gru(make_cell, draw):
    """σ(a) + σ(−a) = 1, so nothing is left to divide by."""
    gru, lstm, x = make_cell("mingru"), make_cell("minlstm"), draw(10, 4, 3)
    lstm.load_state_dict({name: torch.cat([each[:4], -each[:4], each[4:]]) for name, each in gru.state_dict().items()})

    torch.testing.assert_close(unroll(lstm, x)[0], unroll(gru, x)[0], rtol=0, atol=1e-14)


def test_the_minimal_lstm_with_equal_gates_keeps_half(make_cell, draw):
    cell = make_cell("minlstm")
    for weight in (cell.weight_x, cell.bias):
        i, f, _ = weight.data.chunk(3)
        f.copy_(i)
    gates = cell.gate_values(cell.project(draw(1, 2, 3))[0], cell.initial_state(2))

    torch.testing.assert_close(cell.kept(gates), torch.full((2, 4), 0.5).double(), rtol=0, atol=1e-16)
