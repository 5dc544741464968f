"""Cells that become one another for particular weights: no code is shared between the two sides but the loop."""

from __future__ import annotations

import torch

from carrossel.cells.unrolling import unroll

EXACT = {"rtol": 0, "atol": 1e-14}  # float64, the same sums in another order


def copy(source, target, **changes):
    """Load `source`'s parameters into `target`, some replaced."""
    target.load_state_dict({**source.state_dict(), **changes})
    return target


def test_peephole_without_peepholes_is_the_lstm(make_cell, draw):
    lstm, x = make_cell("lstm"), draw(10, 4, 3)
    for kind, shape in (("peephole", (12, 4)), ("peephole_diagonal", (3, 4))):
        cell = copy(lstm, make_cell(kind), weight_c=torch.zeros(shape, dtype=torch.float64))

        torch.testing.assert_close(unroll(cell, x), unroll(lstm, x), **EXACT)


def test_peephole_with_diagonal_matrices_is_the_diagonal_one(make_cell, draw):
    diagonal, x = make_cell("peephole_diagonal"), draw(10, 4, 3)
    matrices = torch.cat([vector.diag() for vector in diagonal.weight_c.detach()])
    full = copy(diagonal, make_cell("peephole"), weight_c=matrices)

    torch.testing.assert_close(unroll(full, x), unroll(diagonal, x), **EXACT)


def test_coupled_is_an_lstm_with_the_forget_gates_weights_negated_for_input(make_cell, draw):
    coupled, x = make_cell("coupled"), draw(10, 4, 3)
    doubled = {name: torch.cat([-value[:4], value]) for name, value in coupled.state_dict().items()}
    lstm = make_cell("lstm")
    lstm.load_state_dict(doubled)

    torch.testing.assert_close(unroll(coupled, x, backend="loop"), unroll(lstm, x, backend="loop"), **EXACT)


def test_both_grus_agree_where_the_reset_commutes_with_a_diagonal_matrix(make_cell, draw):
    lecture, x = make_cell("gru", bias=True), draw(10, 4, 3)
    with torch.no_grad():
        lecture.weight_h[8:] = torch.diag(torch.tensor([0.5, -0.7, 0.9, 0.2], dtype=torch.float64))
    turned = {name: torch.cat([value[:4], -value[4:8], value[8:]]) for name, value in lecture.state_dict().items()}
    torchs = make_cell("gru_reset_after")
    torchs.load_state_dict({**turned, "bias_h": torch.zeros(4, dtype=torch.float64)})

    torch.testing.assert_close(unroll(lecture, x), unroll(torchs, x), **EXACT)
