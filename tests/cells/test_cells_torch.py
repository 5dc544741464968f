"""Weight copy: the kinds that are torch.nn's layers give torch.nn's outputs and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from carrossel.cells import State
from carrossel.cells.unrolling import unroll


def copy_of(cell):
    """A layer of torch.nn with the cell's weights, whose two biases sum to the cell's one."""
    options = {"dtype": torch.float64}
    layer = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru_reset_after": nn.GRU}[cell.kind](3, 4, **options)
    share = torch.linspace(-1, 1, len(cell.bias), dtype=torch.float64)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(cell.weight_x)
        layer.weight_hh_l0.copy_(cell.weight_h)
        layer.bias_ih_l0.copy_(cell.bias - share)
        layer.bias_hh_l0.copy_(share)
        if cell.kind == "gru_reset_after":  # the candidate's two biases lie on both sides of the reset
            layer.bias_ih_l0[-4:] = cell.bias[-4:]
            layer.bias_hh_l0[-4:] = cell.bias_h
    return layer


@pytest.mark.parametrize("backend", ["auto", "loop"])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru_reset_after"])
def test_outputs_and_all_gradients_are_torchs(kind, backend, make_cell, draw):
    cell = make_cell(kind)
    layer = copy_of(cell)
    x, h0, c0 = draw(20, 5, 3), draw(5, 4, seed=1), draw(5, 4, seed=2)
    weights = draw(20, 5, 4, seed=3)
    inputs = [[part.clone().requires_grad_() for part in (x, h0, c0)] for _ in range(2)]

    (x1, h1, c1), (x2, h2, c2) = inputs
    ours, last = unroll(cell, x1, State(h1, c1 if cell.has_memory else None), backend)
    theirs, end = layer(x2, (h2[None], c2[None]) if cell.has_memory else h2[None])
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()

    # 16 digits, sums over 20 steps × 5 sequences of terms of order 1
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(ours, theirs, **close)
    torch.testing.assert_close(last.h, (end[0] if cell.has_memory else end)[0], **close)
    torch.testing.assert_close(x1.grad, x2.grad, **close)
    torch.testing.assert_close(h1.grad, h2.grad, **close)
    torch.testing.assert_close(c1.grad, c2.grad, **close)
    torch.testing.assert_close(cell.weight_x.grad, layer.weight_ih_l0.grad, **close)
    torch.testing.assert_close(cell.weight_h.grad, layer.weight_hh_l0.grad, **close)
    torch.testing.assert_close(cell.bias.grad, layer.bias_ih_l0.grad, **close)
    if kind == "gru_reset_after":
        torch.testing.assert_close(cell.bias_h.grad, layer.bias_hh_l0.grad[-4:], **close)


def test_torchs_gru_is_not_the_lectures(make_cell, draw):
    """With the same generic weights they differ by far more than rounding, also once z's sign is turned."""
    lecture, torchs, x = make_cell("gru", bias=True), make_cell("gru_reset_after"), draw(20, 5, 3)
    turn = torch.ones(12, 1, dtype=torch.float64)
    turn[4:8] = -1
    with torch.no_grad():
        torchs.weight_x.copy_(turn * lecture.weight_x)
        torchs.weight_h.copy_(turn * lecture.weight_h)
        torchs.bias.copy_(turn[:, 0] * lecture.bias)
        torchs.bias_h.zero_()

    assert (unroll(lecture, x)[0] - unroll(torchs, x)[0]).abs().max() > 1e-2
