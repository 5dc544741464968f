"""Each kind against a float64 loop in numpy, written from the lecture's equations: one sequence, one step at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from carrossel.cells import State
from carrossel.cells.unrolling import unroll


def σ(a):  # noqa: PLC2401  # the equations' own name
    return 1 / (1 + np.exp(-a))


def blocks(cell):
    """Parameters by gate: W[gate] acts on [h, x], b[gate] is added."""
    arrays = {name: value.detach().numpy() for name, value in cell.state_dict().items()}
    joined = np.concatenate([arrays["weight_h"], arrays["weight_x"]], axis=1)
    W = dict(zip(cell.gates, np.split(joined, len(cell.gates)), strict=True))
    bias = arrays.get("bias", np.zeros(len(joined)))
    return W, dict(zip(cell.gates, np.split(bias, len(cell.gates)), strict=True)), arrays


def rnn(cell, x, h, C):
    W, b, _ = blocks(cell)
    return np.tanh(W["hidden"] @ [*h, *x] + b["hidden"]), None


def lstm(cell, x, h, C):
    W, b, _ = blocks(cell)
    f = σ(W["forget"] @ [*h, *x] + b["forget"])
    i = σ(W["input"] @ [*h, *x] + b["input"])
    C_new = np.tanh(W["candidate"] @ [*h, *x] + b["candidate"])
    C = f * C + i * C_new
    o = σ(W["output"] @ [*h, *x] + b["output"])
    return o * np.tanh(C), C


def peephole(cell, x, h, C):
    W, b, arrays = blocks(cell)
    V_i, V_f, V_o = np.split(arrays["weight_c"], 3)
    f = σ(np.hstack([V_f, W["forget"]]) @ [*C, *h, *x] + b["forget"])
    i = σ(np.hstack([V_i, W["input"]]) @ [*C, *h, *x] + b["input"])
    C_new = np.tanh(W["candidate"] @ [*h, *x] + b["candidate"])
    C = f * C + i * C_new
    o = σ(np.hstack([V_o, W["output"]]) @ [*C, *h, *x] + b["output"])
    return o * np.tanh(C), C


def peephole_diagonal(cell, x, h, C):
    W, b, arrays = blocks(cell)
    p_i, p_f, p_o = arrays["weight_c"]
    f = σ(W["forget"] @ [*h, *x] + p_f * C + b["forget"])
    i = σ(W["input"] @ [*h, *x] + p_i * C + b["input"])
    C_new = np.tanh(W["candidate"] @ [*h, *x] + b["candidate"])
    C = f * C + i * C_new
    o = σ(W["output"] @ [*h, *x] + p_o * C + b["output"])
    return o * np.tanh(C), C


def coupled(cell, x, h, C):
    W, b, _ = blocks(cell)
    f = σ(W["forget"] @ [*h, *x] + b["forget"])
    C_new = np.tanh(W["candidate"] @ [*h, *x] + b["candidate"])
    C = f * C + (1 - f) * C_new
    o = σ(W["output"] @ [*h, *x] + b["output"])
    return o * np.tanh(C), C


def gru(cell, x, h, C):
    W, b, _ = blocks(cell)
    z = σ(W["update"] @ [*h, *x] + b["update"])
    r = σ(W["reset"] @ [*h, *x] + b["reset"])
    h_new = np.tanh(W["candidate"] @ [*(r * h), *x] + b["candidate"])
    return (1 - z) * h + z * h_new, None


def gru_reset_after(cell, x, h, C):
    W, b, arrays = blocks(cell)
    W_h, W_x = np.split(W["candidate"], [len(h)], axis=1)
    b_h = arrays.get("bias_h", np.zeros(len(h)))
    z = σ(W["update"] @ [*h, *x] + b["update"])
    r = σ(W["reset"] @ [*h, *x] + b["reset"])
    h_new = np.tanh(W_x @ x + b["candidate"] + r * (W_h @ h + b_h))
    return (1 - z) * h_new + z * h, None


STEPS = {step.__name__: step for step in (rnn, lstm, peephole, peephole_diagonal, coupled, gru, gru_reset_after)}
CASES = [(kind, {}) for kind in STEPS] + [("gru", {"bias": True}), ("gru_reset_after", {"bias": False})]


@pytest.mark.parametrize("backend", ["auto", "loop"])
@pytest.mark.parametrize(("kind", "config"), CASES)
def test_a_sequence_follows_the_equations(kind, config, backend, make_cell, draw):
    cell, x = make_cell(kind, **config), draw(8, 2, 3)
    h0, c0 = draw(2, 4, seed=1).tanh(), draw(2, 4, seed=2) if cell.has_memory else None

    h, last = unroll(cell, x, State(h0, c0), backend)

    for n in range(2):
        expected, C = h0[n].numpy(), None if c0 is None else c0[n].numpy()
        for t in range(8):
            expected, C = STEPS[kind](cell, x[t, n].numpy(), expected, C)
            # the same sums in another order: a few units in the 16th digit
            np.testing.assert_allclose(h[t, n].detach().numpy(), expected, rtol=0, atol=1e-14)
        if C is not None:
            np.testing.assert_allclose(last.c[n].detach().numpy(), C, rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["auto", "loop"])
def test_a_relu_network_follows_its_equation(backend, make_cell):
    cell = make_cell("rnn", input_size=1, hidden_size=1, activation="relu")
    for parameter, value in ((cell.weight_x, 1.0), (cell.weight_h, 2.0), (cell.bias, -1.0)):
        parameter.data.fill_(value)
    x = torch.tensor([[[3.0]], [[-9.0]], [[2.0]]], dtype=torch.float64)

    h, _ = unroll(cell, x, backend=backend)

    assert h.flatten().tolist() == [2.0, 0.0, 1.0]  # relu(3 − 1), relu(−9 + 2·2 − 1), relu(2 + 0 − 1)
