"""The variants of Greff et al. (2017), LSTM: a search space odyssey, against that paper's equations and against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from carrossel.cells import State, registry
from carrossel.cells.unrolling import unroll
from carrossel.config import validate
from carrossel.errors import ConfigError

GATES = ("input", "forget", "output")
PARAMETERS = ("weight_x", "weight_h", "bias")
OPEN = 40.0  # σ(40) differs from 1 by 4e-18
EXACT = {"rtol": 1e-13, "atol": 1e-14}  # float64, the same sums in another order


def σ(a):  # noqa: PLC2401  # the equations' own name
    return 1 / (1 + np.exp(-a))


def identity(x):
    return x


def vanilla(cell, x, y, c, before, *, one=None, g=np.tanh, h=np.tanh):
    """One step of the paper's section on the vanilla LSTM, in its names: block input z, gates, cell c, output y.

    `one` is the gate that a variant sets to 1; `before` are the gates i, f, o of the step before.
    """
    arrays = {name: value.detach().numpy() for name, value in cell.state_dict().items()}
    W, R, b = (dict(zip(cell.gates, np.split(arrays[name], len(cell.gates)), strict=True)) for name in PARAMETERS)
    seeing = [gate for gate in GATES if gate != one]
    p = dict(zip(seeing, arrays["weight_c"], strict=True)) if "weight_c" in arrays else dict.fromkeys(seeing, 0)
    full = np.split(arrays["weight_g"] @ np.concatenate(before), 3) if "weight_g" in arrays else [0, 0, 0]
    full = dict(zip(GATES, full, strict=True))

    def gate(name, c):
        if name == one:
            return np.ones_like(c)
        return σ(W[name] @ x + R[name] @ y + p[name] * c + b[name] + full[name])

    z = g(W["candidate"] @ x + R["candidate"] @ y + b["candidate"])
    i, f = gate("input", c), gate("forget", c)
    c = z * i + c * f
    o = gate("output", c)
    return h(c) * o, c, (i, f, o)


VARIANTS = {
    "nig": {"one": "input"},
    "nfg": {"one": "forget"},
    "nog": {"one": "output"},
    "niaf": {"g": identity},
    "noaf": {"h": identity},
    "np": {},
    "fgr": {},
}
FAST = [kind for kind in VARIANTS if kind != "fgr"]


def generic_state(cell, batch, draw):
    """Generic h and C; gates of the step before within 0 … 1."""
    c = draw(batch, 4 * cell.memory_parts, seed=2)
    c[:, 4:] = c[:, 4:].sigmoid()
    return State(draw(batch, 4, seed=1).tanh(), c)


@pytest.mark.parametrize("backend", ["auto", "loop"])
@pytest.mark.parametrize("kind", VARIANTS)
def test_a_sequence_follows_the_papers_equations(kind, backend, make_cell, draw):
    cell, x = make_cell(kind), draw(8, 2, 3)
    state = generic_state(cell, 2, draw)

    h, last = unroll(cell, x, state, backend)

    for n in range(2):
        y = state.h[n].numpy()
        c, *before = np.split(state.c[n].numpy(), cell.memory_parts)
        for t in range(8):
            y, c, before = vanilla(cell, x[t, n].numpy(), y, c, before, **VARIANTS[kind])
            np.testing.assert_allclose(h[t, n].detach().numpy(), y, **EXACT)
        expected = [c, *before] if cell.memory_parts > 1 else [c]
        np.testing.assert_allclose(last.c[n].detach().numpy(), np.concatenate(expected), **EXACT)


def peepholes_with(cell, gate, vector):
    """`cell`'s peephole weights with one gate's put in its place."""
    rows = list(cell.weight_c.detach())
    rows.insert(GATES.index(gate), vector)
    return torch.stack(rows)


@pytest.mark.parametrize(("kind", "gate"), [("nig", "input"), ("nfg", "forget"), ("nog", "output")])
def test_without_a_gate_it_is_the_vanilla_lstm_whose_gate_is_biased_open(kind, gate, make_cell, draw):
    cell, full, x = make_cell(kind), make_cell("peephole_diagonal"), draw(10, 4, 3)
    first = 4 * full.gates.index(gate)
    given = {}
    for name, filling in (("weight_x", 0.0), ("weight_h", 0.0), ("bias", OPEN)):
        rows = getattr(cell, name).detach()
        given[name] = torch.cat([rows[:first], torch.full_like(rows[:4], filling), rows[first:]])
    full.load_state_dict({**given, "weight_c": peepholes_with(cell, gate, torch.zeros(4).double())})

    torch.testing.assert_close(unroll(cell, x), unroll(full, x), **EXACT)


def test_np_is_the_lstm(make_cell, draw):
    lstm, cell, x = make_cell("lstm"), make_cell("np", seed=1), draw(10, 4, 3)
    cell.load_state_dict(lstm.state_dict())

    torch.testing.assert_close(unroll(cell, x, backend="loop"), unroll(lstm, x, backend="loop"), rtol=0, atol=0)


def test_fgr_without_gate_recurrence_is_the_vanilla_lstm(make_cell, draw):
    cell, full, x = make_cell("fgr"), make_cell("peephole_diagonal"), draw(10, 4, 3)
    full.load_state_dict({name: value for name, value in cell.state_dict().items() if name != "weight_g"})
    torch.nn.init.zeros_(cell.weight_g)
    (h, last), (expected, end) = unroll(cell, x), unroll(full, x)

    torch.testing.assert_close(h, expected, **EXACT)
    torch.testing.assert_close(last.c[:, :4], end.c, **EXACT)


def test_noaf_shows_the_memory_where_the_vanilla_lstm_shows_its_tanh(make_cell, draw):
    """With no product on h both have one memory and the same output gate."""
    cell, full, x = make_cell("noaf"), make_cell("peephole_diagonal"), draw(10, 4, 3)
    torch.nn.init.zeros_(cell.weight_h)
    full.load_state_dict(cell.state_dict())
    (_, last), (_, end) = unroll(cell, x), unroll(full, x)

    torch.testing.assert_close(last.c, end.c, **EXACT)
    torch.testing.assert_close(last.h, end.h * end.c / end.c.tanh(), **EXACT)


def test_niaf_writes_what_the_vanilla_lstm_writes_the_tanh_of(make_cell, draw):
    """With candidates that are their bias, the vanilla LSTM's tanh(b) is the variant's b."""
    cell, full, x = make_cell("niaf"), make_cell("peephole_diagonal"), draw(10, 4, 3)
    full.load_state_dict(cell.state_dict())
    for each in (cell, full):
        each.weight_x.data[8:12] = 0
        each.weight_h.data[8:12] = 0
    cell.bias.data[8:12] = full.bias.data[8:12].tanh()

    torch.testing.assert_close(unroll(cell, x), unroll(full, x), **EXACT)


def derive(cell, x, state, backend):
    """Outputs and gradients by x, the state and every parameter of a loss that weighs each output."""
    inputs = [part.clone().requires_grad_() for part in (x, state.h, state.c)]
    h, last = unroll(cell, inputs[0], State(*inputs[1:]), backend)
    outputs = [h, last.c]
    loss = sum((part * torch.arange(part.numel()).to(part).view_as(part).cos()).sum() for part in outputs)
    return [part.double() for part in (*outputs, *torch.autograd.grad(loss, [*inputs, *cell.parameters()]))]


@pytest.mark.parametrize("kind", FAST)
def test_the_kernel_is_the_float64_loop(kind, make_cell, draw):
    single, cell = (make_cell(kind, hidden_size=19, dtype=dtype) for dtype in (torch.float32, torch.float64))
    for parameter in single.parameters():
        parameter.data /= 19**0.5  # gates of practice: with wider weights they all saturate
    cell.load_state_dict(single.state_dict())
    x, h, c = (draw(*shape, seed=seed).float() for seed, shape in enumerate([(25, 7, 3), (7, 19), (7, 19)]))

    found = derive(single, x, State(h, c), "numba")
    exact = derive(cell, x.double(), State(h.double(), c.double()), "loop")
    for ours, theirs in zip(found, exact, strict=True):
        # float32 keeps 7 digits of the largest terms; sums over 25 steps × 7 sequences lose one or two
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize(("kind", "operator"), [*((kind, "LSTM") for kind in FAST), ("fgr", None)])
def test_onnx_has_an_operator_for_all_but_gate_recurrence(kind, operator, make_cell):
    form = make_cell(kind).native()

    assert (None if form is None else form.operator) == operator


@pytest.mark.parametrize("kind", VARIANTS)
def test_what_a_variant_has_beyond_the_plain_lstm_starts_at_zero(kind):
    cls = registry.load(kind)
    beyond = {
        name: value for name, value in cls(3, cls.Config()).named_parameters() if name in ("weight_c", "weight_g")
    }

    assert ("weight_c" in beyond) == (kind != "np")
    assert ("weight_g" in beyond) == (kind == "fgr")
    assert not any(value.any() for value in beyond.values())


@pytest.mark.parametrize("kind", [kind for kind in VARIANTS if kind != "nfg"])
def test_variants_with_a_forget_gate_take_its_bias_and_chrono(kind):
    cls = registry.load(kind)
    for config, low, high in (({"forget_bias": 2.5}, 2.5, 2.5), ({"chrono_t_max": 101}, 0, np.log(100))):
        cell = cls(3, cls.Config(**config), generator=torch.Generator().manual_seed(0))
        bias = dict(zip(cls.gates, cell.bias.detach().chunk(len(cls.gates)), strict=True))
        opposite = -bias["forget"] if "chrono_t_max" in config else torch.zeros(32)

        assert low <= bias["forget"].min() <= bias["forget"].max() <= high
        assert torch.equal(bias.get("input", opposite), opposite)
        assert not bias["candidate"].any()


@pytest.mark.parametrize("key", ["forget_bias", "chrono_t_max"])
def test_without_a_forget_gate_there_is_no_bias_to_choose(key):
    with pytest.raises(ConfigError, match=rf"cells\.nfg\.{key} = 3: unknown key"):
        validate({key: 3}, registry.load("nfg").Config, "cells.nfg")


def test_without_a_forget_gate_everything_is_kept(make_cell, draw):
    cell = make_cell("nfg")
    gates = cell.gate_values(cell.project(draw(1, 5, 3))[0], generic_state(cell, 5, draw))

    assert set(gates) == {"input", "output"}
    assert torch.equal(cell.kept(gates), torch.ones(5, 4).double())


def test_fgr_keeps_its_gates_in_the_state(make_cell, draw):
    cell = make_cell("fgr")
    projected, state = cell.project(draw(1, 5, 3))[0], generic_state(cell, 5, draw)
    gates = cell.gate_values(projected, state)

    assert torch.equal(cell.step(projected, state).c[:, 4:], torch.cat([gates[name] for name in GATES], dim=1))
