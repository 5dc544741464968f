"""sLSTM: the stabilised equations, the plain ones that they stand for, and what no finite number could hold otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from carrossel.cells import registry
from carrossel.cells.unrolling import unroll, unroll_states

FORMS = pytest.mark.parametrize("forget", ["sigmoid", "exponential"])


def σ(a):  # noqa: PLC2401  # the equations' own name
    return 1 / (1 + np.exp(-a))


def sums(cell, x, h):
    """W · [h, x] + b by gate."""
    W = np.concatenate([cell.weight_h.detach().numpy(), cell.weight_x.detach().numpy()], axis=1)
    return dict(zip(cell.gates, np.split(W @ [*h, *x] + cell.bias.detach().numpy(), 4), strict=True))


def stabilised(cell, x, h, c, n, m):
    """Equations 8 to 17, but for the first step, where n = 0 leaves m free."""
    a = sums(cell, x, h)
    log_i, log_f = a["input"], a["forget"] if cell.config.forget == "exponential" else np.log(σ(a["forget"]))
    m_new = np.where(n == 0, log_i, np.maximum(log_f + m, log_i))
    i, f = np.exp(log_i - m_new), np.exp(log_f + m - m_new)
    c, n = f * c + i * np.tanh(a["candidate"]), f * n + i
    return σ(a["output"]) * c / n, c, n, m_new


def plain(cell, x, h, c, n):
    """Equations 8 to 14: exponentials as they are."""
    a = sums(cell, x, h)
    f = np.exp(a["forget"]) if cell.config.forget == "exponential" else σ(a["forget"])
    i = np.exp(a["input"])
    c, n = f * c + i * np.tanh(a["candidate"]), f * n + i
    return σ(a["output"]) * c / n, c, n


@FORMS
def test_each_state_is_the_papers(forget, make_cell, draw):
    cell, x = make_cell("slstm", forget=forget), draw(11, 1, 3)
    state = (np.zeros(4),) * 4
    for t, found in enumerate(unroll_states(cell, x)):
        state = stabilised(cell, x[t, 0].numpy(), *state)
        np.testing.assert_allclose(found.h[0].detach(), state[0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found.memory[0].detach(), np.concatenate(state[1:]), rtol=1e-12, atol=1e-14)


@FORMS
def test_the_stabiliser_cancels(forget, make_cell, draw):
    cell, x = make_cell("slstm", forget=forget), draw(30, 1, 3)
    h = c = n = np.zeros(4)
    expected = []
    for t in range(30):
        h, c, n = plain(cell, x[t, 0].numpy(), h, c, n)
        expected.append(h)
    found, last = unroll(cell, x)
    stored, scale, m = (each.detach().numpy() for each in last.memory[0].chunk(3))

    # thirty steps of exponentials, each rounded at 1e-16
    np.testing.assert_allclose(found[:, 0].detach(), expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(stored * np.exp(m), c, rtol=1e-11)
    np.testing.assert_allclose(scale * np.exp(m), n, rtol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [-3000.0, -300.0, 300.0, 3000.0])
@FORMS
def test_where_exponentials_would_overflow_the_cell_stays_finite_with_its_gradients(
    forget, size, dtype, make_cell, draw
):
    cell = make_cell("slstm", dtype=dtype, forget=forget)
    i, f, _, _ = cell.bias.data.chunk(4)
    i.copy_(torch.tensor([size, -size, size / 2, 0]))
    f.copy_(torch.tensor([0, size, -size, size]))
    x = draw(20, 2, 3).to(dtype).requires_grad_()
    states = unroll_states(cell, x)
    found = torch.autograd.grad(states[-1].h.sum(), [x, *cell.parameters()])

    assert all(part.isfinite().all() for state in states for part in state)
    assert all(each.isfinite().all() for each in found)
    assert all(state.h.abs().max() <= 1 for state in states)  # o · a mean of tanh


@FORMS
def test_after_the_first_step_h_is_the_new_value_let_out(forget, make_cell, draw):
    cell, x = make_cell("slstm", forget=forget), draw(1, 3, 3)
    _, _, candidate, o = cell.project(x)[0].chunk(4, dim=1)
    _, last = unroll(cell, x)
    c, n, _ = last.memory.chunk(3, dim=1)

    assert torch.equal(n, torch.ones_like(n))
    torch.testing.assert_close(c, candidate.tanh(), rtol=0, atol=1e-15)
    torch.testing.assert_close(last.h, o.sigmoid() * candidate.tanh(), rtol=0, atol=1e-15)


def test_a_very_large_input_revises_all_that_was_stored(make_cell, draw):
    cell, x = make_cell("slstm"), draw(9, 1, 3)
    _, state = unroll(cell, x[:8])
    projected = cell.project(x[8:])[0].detach()
    projected[:, :4] += 1000
    after = cell.step(projected, state)
    _, _, candidate, o = cell.recur(projected, state.h).chunk(4, dim=1)

    torch.testing.assert_close(after.h, o.sigmoid() * candidate.tanh(), rtol=0, atol=1e-15)
    assert torch.equal(cell.gate_values(projected, state)["forget"], torch.zeros(1, 4).double())


@FORMS
def test_gates_are_shares_of_the_normalised_memory(forget, make_cell, draw):
    cell, x = make_cell("slstm", forget=forget), draw(8, 5, 3)
    _, state = unroll(cell, x[:7])
    projected = cell.project(x[7:])[0]
    gates, after = cell.gate_values(projected, state), cell.step(projected, state)
    old, new = (c / n for c, n, _ in (each.memory.chunk(3, dim=1) for each in (state, after)))
    candidate = cell.recur(projected, state.h).chunk(4, dim=1)[2].tanh()

    assert list(gates) == ["input", "forget", "output"]
    assert all(((each >= 0) & (each <= 1)).all() for each in gates.values())
    torch.testing.assert_close(gates["forget"] + gates["input"], torch.ones(5, 4).double(), rtol=0, atol=1e-15)
    torch.testing.assert_close(gates["forget"] * old + gates["input"] * candidate, new, rtol=0, atol=1e-14)
    torch.testing.assert_close(gates["output"] * new, after.h, rtol=0, atol=1e-15)
    assert torch.equal(cell.kept(gates), gates["forget"])


def test_both_forget_gates_start_at_the_same_f():
    cls = registry.load("slstm")
    starts = {}
    for forget in ("sigmoid", "exponential"):
        for chrono in (None, 50):
            config = cls.Config(forget=forget, hidden_size=8, chrono_t_max=chrono)
            cell = cls(2, config, generator=torch.Generator().manual_seed(0))
            bias = cell.bias.detach().chunk(4)[cell.gates.index("forget")]
            starts[forget, chrono] = bias.sigmoid() if forget == "sigmoid" else bias.exp()

    assert starts["sigmoid", None].tolist() == pytest.approx([σ(1.0)] * 8)
    for chrono in (None, 50):
        torch.testing.assert_close(starts["exponential", chrono], starts["sigmoid", chrono])


def test_a_constant_input_bias_changes_nothing_since_the_normaliser_divides_by_it(make_cell, draw):
    cell, x = make_cell("slstm"), draw(12, 2, 3)
    h, _ = unroll(cell, x)
    cell.bias.data[:4] += 5

    torch.testing.assert_close(unroll(cell, x)[0], h, rtol=0, atol=1e-13)


def test_zoneout_in_training_keeps_a_units_memory_normaliser_and_stabiliser_together(make_cell, draw):
    cell, x = make_cell("slstm", hidden_size=50, zoneout=0.3), draw(4, 6, 3)
    _, state = unroll(cell.eval(), x[:3])
    projected = cell.project(x[3:])[0]
    stepped = cell.step(projected, state)
    torch.manual_seed(0)
    after = cell.train().advance(projected, state)
    kept = [(new == old).reshape(6, -1, 50) for new, old in zip(after, state, strict=True)]

    assert torch.equal(kept[1][:, :1].expand(-1, 3, -1), kept[1])
    assert torch.equal(torch.where(kept[1].reshape(6, -1), state.memory, stepped.memory), after.memory)
    assert torch.equal(torch.where(kept[0][:, 0], state.h, stepped.h), after.h)
    assert not torch.equal(kept[0][:, 0], kept[1][:, 0])
    assert kept[1][:, 0].double().mean().item() == pytest.approx(0.3, abs=0.08)  # 300 draws: 3 standard errors


def test_zoneout_out_of_training_mixes_old_and_new_in_one_unit(make_cell, draw):
    cell, x = make_cell("slstm", zoneout=0.25).eval(), draw(4, 2, 3)
    _, state = unroll(cell, x[:3])
    projected = cell.project(x[3:])[0]
    stepped, after = cell.step(projected, state), cell.advance(projected, state)

    def unscaled(each):
        c, n, m = each.memory.chunk(3, dim=1)
        return torch.stack([c, n]) * m.exp()

    expected = 0.25 * unscaled(state) + 0.75 * unscaled(stepped)
    torch.testing.assert_close(unscaled(after), expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(after.h, 0.25 * state.h + 0.75 * stepped.h, rtol=0, atol=1e-15)


def test_zoneout_of_the_first_step_has_nothing_old_to_mix(make_cell, draw):
    cell, x = make_cell("slstm", zoneout=0.25).eval(), draw(1, 2, 3)
    cell.bias.data[:4] -= 800  # far below the zeros that m starts from
    _, after = unroll(cell, x)
    c, n, _ = after.memory.chunk(3, dim=1)
    candidate = cell.project(x)[0].chunk(4, dim=1)[2]

    torch.testing.assert_close(c / n, candidate.tanh(), rtol=0, atol=1e-15)


@FORMS
def test_chunks_carry_all_parts(forget, make_cell, draw):
    cell, x = make_cell("slstm", forget=forget), draw(9, 2, 3)
    whole, last = unroll(cell, x)
    first, between = unroll(cell, x[:1])
    second, end = unroll(cell, x[1:], between)

    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(end, last, rtol=0, atol=1e-14)
