from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from carrossel.cells import registry
from carrossel.cells.unrolling import unroll_states
from carrossel.diagnostics.gates import gate_values, kept_by_lag, saturation
from carrossel.diagnostics.quantities import gradient_by_lag


def constant_lstm(generic_cell, forget, hidden_size=3):
    """An LSTM whose forget gate is the same number at every step."""
    cell = generic_cell("lstm", 1, hidden_size)
    rows = slice(hidden_size, 2 * hidden_size)
    for weight in (cell.weight_x, cell.weight_h):
        weight.data[rows] = 0
    cell.bias.data[rows] = math.log(forget / (1 - forget))
    return cell


@pytest.mark.parametrize("kind", registry.kinds())
def test_gates_of_all_steps_at_once_are_those_step_by_step(kind, generic_cell, normal):
    cell, x = generic_cell(kind), normal(6, 3, 2)
    states = unroll_states(cell, x)
    found = gate_values(cell, x, states)

    before = [cell.initial_state(3), *states]
    for t in range(6):
        for name, values in cell.gate_values(cell.project(x)[t], before[t]).items():
            # the same sums; GEMM may order them otherwise for another number of rows
            torch.testing.assert_close(found[name][t], values.detach(), rtol=0, atol=1e-15)
    assert all(values.shape == (6, 3, 4) for values in found.values())
    assert set(found) <= set(cell.gates)


def test_saturation_counts_steps_and_sequences_below_a_tenth_and_above_nine_tenths():
    """One unit, four (step, sequence): 0.05, 0.1 (not below), 0.9 (not above), 0.95; another always half open."""
    values = torch.tensor([[[0.05, 0.5], [0.1, 0.5]], [[0.9, 0.5], [0.95, 0.5]]]).double()
    found = saturation({"forget": values})["forget"]

    assert found.shut.tolist() == [0.25, 0.0]
    assert found.open.tolist() == [0.25, 0.0]


def test_gates_biased_open_and_shut_are_saturated_everywhere(generic_cell, normal):
    cell, x = generic_cell("lstm"), normal(5, 2, 2)
    bias = dict(zip(cell.gates, cell.bias.data.chunk(4), strict=True))
    bias["forget"].fill_(40)
    bias["input"].fill_(-40)
    found = saturation(gate_values(cell, x, unroll_states(cell, x)))

    assert (found["forget"].open.tolist(), found["forget"].shut.tolist()) == ([1.0] * 4, [0.0] * 4)
    assert (found["input"].open.tolist(), found["input"].shut.tolist()) == ([0.0] * 4, [1.0] * 4)


@pytest.mark.parametrize("forget", [0.5, 0.9, 0.99])
def test_a_constant_forget_gate_keeps_f_to_the_k(forget, generic_cell, normal):
    cell, x = constant_lstm(generic_cell, forget), normal(40, 2, 1)
    found = kept_by_lag(cell.kept(gate_values(cell, x, unroll_states(cell, x))))

    np.testing.assert_allclose(found, forget ** np.arange(41), rtol=1e-12)  # 40 products rounded at 1e-16


def test_kept_by_lag_averages_products_over_units_and_reaches_back_from_the_end():
    """Units keep 1/2 and 1/4 at the last step, 1 and 0 before it: 1, (1/2 + 1/4)/2, (1/2 + 0)/2."""
    kept = torch.tensor([[[1.0, 0.0]], [[0.5, 0.25]]])

    assert kept_by_lag(kept).tolist() == [1.0, 0.375, 0.25]


def test_where_gates_dont_see_the_state_it_is_the_memorys_gradient(generic_cell, normal):
    """One unit, no recurrent weights: ∂L/∂C fades by the product of the forget gates alone."""
    cell, x = generic_cell("lstm", 1, 1), normal(20, 1, 1)
    cell.weight_h.data.zero_()
    states = unroll_states(cell, x)
    (gradient,) = gradient_by_lag(states[-1].h, [states])
    kept = kept_by_lag(cell.kept(gate_values(cell, x, states)))

    np.testing.assert_allclose(kept[:20], gradient.c / gradient.c[0], rtol=1e-12)


@pytest.mark.parametrize(("kind", "sign"), [("gru", -1), ("gru_reset_after", 1)])
def test_a_gru_keeps_its_state_by_the_update_gate(kind, sign, generic_cell, normal):
    """The lecture's z weighs the new value, torch's the old one."""
    cell, x = generic_cell(kind, bias=True), normal(9, 2, 2)
    for parameter in cell.parameters():
        parameter.data[4:8].zero_()
    cell.bias.data[4:8] = sign * math.log(9)  # σ(ln 9) = 0.9
    found = kept_by_lag(cell.kept(gate_values(cell, x, unroll_states(cell, x))))

    np.testing.assert_allclose(found, 0.9 ** np.arange(10), rtol=1e-12)


def test_an_rnn_has_nothing_to_count(generic_cell, normal):
    cell, x = generic_cell("rnn"), normal(3, 1, 2)

    assert saturation(gate_values(cell, x, unroll_states(cell, x))) == {}
