"""Settings of cells with one gate or none that have other gate maths than their kind's defaults, or feed them otherwise."""

from __future__ import annotations

import pytest
import torch

from carrossel.cells.unrolling import unroll

SETTINGS = pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("rnn", {"activation": "relu"}),
        ("indrnn", {"activation": "tanh"}),
        ("indrnn", {"recurrent_t_max": 500}),
        ("janet", {"beta": 0}),
        ("janet", {"beta": 4}),
    ],
)


@SETTINGS
@pytest.mark.parametrize("size", [(1, 7, 3, 5), (33, 20, 5, 24)], ids=str)
def test_the_kernel_is_the_loop_in_float64(kind, config, size, problem):
    assert problem(kind, *size, **config).worst_error("numba") < 1e-5  # float32


@SETTINGS
def test_the_written_out_backward_pass_is_the_loop(kind, config, problem, monkeypatch):
    each = problem(kind, 6, 11, 3, 5, **config)
    monkeypatch.setattr(type(each.double), "fused", lambda _self: None)

    assert each.worst_error("torch", torch.float64) < 1e-12  # sixteen digits, eleven steps


@pytest.mark.parametrize("kind", ["rnn", "irnn"])
def test_a_rectifier_lets_nothing_but_numbers_above_zero_pass(kind, problem):
    each = problem(kind, 2, 1, 1, 3, **({"activation": "relu"} if kind == "rnn" else {}))
    cell = each.single
    for weight in cell.parameters():
        weight.data.zero_()
    cell.bias.data.copy_(torch.tensor([2.0, 0.0, -2.0]))
    x = torch.tensor([[[0.0], [float("nan")]]])
    h, _ = unroll(cell, x, backend="numba")
    h[0, 0].sum().backward()

    assert h[0, 0].tolist() == [2.0, 0.0, 0.0]
    assert h[0, 1].isnan().all()
    assert cell.bias.grad.tolist() == [1.0, 0.0, 0.0]


def test_units_of_an_indrnn_dont_see_each_other_in_the_kernel(problem):
    each = problem("indrnn", 3, 9, 2, 8)
    expected, _ = unroll(each.single, each.x, each.state, "numba")
    h = each.state.h.clone()
    h[:, 2] += 1
    found, _ = unroll(each.single, each.x, each.state._replace(h=h), "numba")
    others = [unit for unit in range(8) if unit != 2]

    assert torch.equal(found[..., others], expected[..., others])
    assert not torch.equal(found[0, :, 2], expected[0, :, 2])
