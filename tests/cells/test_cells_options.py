"""Layer normalisation, zoneout and recurrent dropout: what they compute, for every kind that takes them."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck

from carrossel.cells import State, registry
from carrossel.cells.unrolling import unroll, unroll_states
from carrossel.config import validate
from carrossel.errors import ConfigError

OPTIONS = {"layer_norm": True, "zoneout": 0.3, "recurrent_dropout": 0.4}


def takes(kind, option):
    try:
        registry.load(kind).Config(**{option: OPTIONS[option]})
    except ValidationError:
        return False
    return True


TAKING = {option: [kind for kind in registry.kinds() if takes(kind, option)] for option in OPTIONS}
REFUSING = [(kind, option) for option in OPTIONS for kind in registry.kinds() if kind not in TAKING[option]]


def all_options(kind):
    return {option: value for option, value in OPTIONS.items() if kind in TAKING[option]}


def some_state(cell, batch, draw):
    h = draw(batch, cell.hidden_size, seed=1).tanh()
    # a normaliser, as some cells keep one in C, is positive
    return State(h, draw(batch, cell.memory_parts * cell.hidden_size, seed=2).abs() if cell.has_memory else None)


def parts(state):
    return [part for part in state if part is not None]


def unscaled(kind, state):
    """The state's parts; an sLSTM's c and n without the e^m that both are divided by, which is any number."""
    if kind != "slstm":
        return parts(state)
    c, n, m = state.memory.chunk(3, dim=-1)
    return [state.h, c * m.exp(), n * m.exp()]


def σ(a):  # noqa: PLC2401  # the equations' own name
    return 1 / (1 + np.exp(-a))


def normalised(a, gain):
    """Ba et al. (2016), equations 3 and 4, without the bias; torch's ε keeps the root from zero."""
    return (a - a.mean()) / np.sqrt(((a - a.mean()) ** 2).mean() + 1e-5) * gain


@pytest.fixture
def by_gate(make_cell):
    """A cell with layer normalisation, and its parameters as numpy arrays by gate."""

    def make(kind):
        cell = make_cell(kind, layer_norm=True)
        arrays = [each.detach().numpy() for each in (cell.weight_x, cell.weight_h, cell.gain, cell.bias)]
        return cell, *(dict(zip(cell.gates, np.split(each, len(cell.gates)), strict=True)) for each in arrays)

    return make


def one_step(cell, x, h, c=None):
    state = State(*(None if each is None else torch.from_numpy(each)[None] for each in (h, c)))
    return cell.step(cell.project(torch.from_numpy(x)[None, None])[0], state)


@pytest.fixture
def vectors():
    random = np.random.default_rng(3)
    return random.normal(size=3), np.tanh(random.normal(size=4)), random.normal(size=4)


def test_layer_norm_of_an_rnn_is_equation_4(by_gate, vectors):
    cell, w_x, w_h, g, b = by_gate("rnn")
    x, h, _ = vectors
    expected = np.tanh(normalised(w_x["hidden"] @ x + w_h["hidden"] @ h, g["hidden"]) + b["hidden"])

    np.testing.assert_allclose(one_step(cell, x, h).h[0].detach(), expected, rtol=1e-12)


def test_layer_norm_of_an_lstm_is_equation_4_gate_by_gate(by_gate, vectors):
    cell, w_x, w_h, g, b = by_gate("lstm")
    x, h, c = vectors
    a = {name: normalised(w_x[name] @ x + w_h[name] @ h, g[name]) + b[name] for name in cell.gates}
    memory = σ(a["forget"]) * c + σ(a["input"]) * np.tanh(a["candidate"])
    found = one_step(cell, x, h, c)

    np.testing.assert_allclose(found.c[0].detach(), memory, rtol=1e-12)
    np.testing.assert_allclose(found.h[0].detach(), σ(a["output"]) * np.tanh(memory), rtol=1e-12)


def test_layer_norm_inside_torchs_reset_is_of_the_product_with_h_alone(by_gate, vectors):
    cell, w_x, w_h, g, b = by_gate("gru_reset_after")
    x, h, _ = vectors
    r, z = (σ(normalised(w_x[gate] @ x + w_h[gate] @ h, g[gate]) + b[gate]) for gate in ("reset", "update"))
    of_h = normalised(w_h["candidate"] @ h, g["candidate"]) + cell.bias_h.detach().numpy()
    candidate = np.tanh(w_x["candidate"] @ x + b["candidate"] + r * of_h)

    np.testing.assert_allclose(one_step(cell, x, h).h[0].detach(), (1 - z) * candidate + z * h, rtol=1e-12)


@pytest.mark.parametrize("kind", TAKING["layer_norm"])
def test_fresh_gains_are_one(kind):
    cls = registry.load(kind)
    cell = cls(3, cls.Config(hidden_size=4, layer_norm=True), generator=torch.Generator().manual_seed(0))
    plain = cls(3, cls.Config(hidden_size=4), generator=torch.Generator().manual_seed(0))

    assert torch.equal(cell.gain, torch.ones_like(cell.gain))
    assert all(torch.equal(cell.state_dict()[name], value) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("kind", TAKING["layer_norm"])
def test_with_layer_norm_the_size_of_the_recurrent_weights_doesnt_matter(kind, make_cell, draw):
    """Ba et al. (2016), section 5.1: what is normalised doesn't change when all its weights are scaled."""
    cell, x = make_cell(kind, layer_norm=True), draw(3, 2, 3)
    found = []
    for scale in (1e5, 1e4):  # first away from ε, then again
        for name, parameter in cell.named_parameters():
            if name in ("weight_x", "weight_h", "weight_u"):
                alone = kind == "gru_reset_after" and name == "weight_x"  # its candidate's W_x x isn't normalised
                parameter.data[: 8 if alone else None].mul_(scale)
        found.append(unroll(cell, x, some_state(cell, 2, draw))[0])

    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-9)
    assert found[0].std() > 0.01


def test_layer_norm_of_a_single_unit_is_refused():
    with pytest.raises(ConfigError, match=r"layer_norm .* hidden_size >= 2"):
        validate({"hidden_size": 1, "layer_norm": True}, registry.load("gru").Config, "cells.gru")


@pytest.mark.parametrize(("kind", "option"), REFUSING)
def test_a_kind_that_refuses_an_option_names_it(kind, option):
    with pytest.raises(ConfigError, match=rf"cells\.{kind}.*{option}"):
        validate({option: OPTIONS[option]}, registry.load(kind).Config, f"cells.{kind}")


@pytest.mark.parametrize("kind", registry.kinds())
def test_options_that_are_off_leave_the_cell_as_it_is(kind, make_cell, draw):
    off = make_cell(kind, zoneout=0.0, recurrent_dropout=0.0, layer_norm=False)

    assert not off.needs_loop
    assert off.gain is None
    assert torch.equal(unroll(off, draw(5, 2, 3))[0], unroll(make_cell(kind), draw(5, 2, 3))[0])


@pytest.mark.parametrize("kind", TAKING["zoneout"])
def test_zoneout_in_training_leaves_each_unit_old_or_new(kind, make_cell, draw):
    cell, batch = make_cell(kind, zoneout=0.3), 500
    state, projected = some_state(cell, batch, draw), cell.project(draw(1, batch, 3))[0]
    torch.manual_seed(0)
    found, new = cell.advance(projected, state), cell.step(projected, state)
    kept = []

    for old, mixed, fresh in zip(parts(state), parts(found), parts(new), strict=True):
        stays = mixed == old
        assert torch.equal(mixed, torch.where(stays, old, fresh))
        assert stays.double().mean().item() == pytest.approx(0.3, abs=0.05)  # 2000 draws have a standard error of 0.01
        kept.append(stays.unflatten(1, (-1, 4)))
    if cell.has_memory:  # what a unit keeps side by side stays together, and h has chances of its own
        assert (kept[1] == kept[1][:, :1]).all()
        assert not torch.equal(kept[0], kept[1][:, :1])


@pytest.mark.parametrize("kind", TAKING["zoneout"])
def test_zoneout_in_evaluation_is_the_mean_of_old_and_new(kind, make_cell, draw):
    cell = make_cell(kind, zoneout=0.3).eval()
    state, projected = some_state(cell, 2, draw), cell.project(draw(1, 2, 3))[0]
    found, new = cell.advance(projected, state), cell.step(projected, state)

    for old, mixed, fresh in zip(*(unscaled(kind, each) for each in (state, found, new)), strict=True):
        torch.testing.assert_close(mixed, 0.3 * old + 0.7 * fresh, rtol=1e-13, atol=1e-14)


def test_recurrent_dropout_takes_the_same_units_at_every_step(make_cell):
    cell = make_cell("rnn", hidden_size=100, activation="identity", recurrent_dropout=0.25)
    with torch.no_grad():
        cell.weight_h.copy_(torch.eye(100))
        cell.bias.zero_()
    torch.manual_seed(0)
    ones = State(torch.ones(3, 100, dtype=torch.float64))
    last = unroll(cell, torch.zeros(6, 3, 3, dtype=torch.float64), ones)[1].h

    kept = last > 0
    torch.testing.assert_close(last[kept], torch.full_like(last[kept], (1 / 0.75) ** 6))
    assert kept.double().mean().item() == pytest.approx(0.75, abs=0.1)  # 300 draws have a standard error of 0.025
    assert not torch.equal(kept[0], kept[1])


def test_recurrent_dropout_keeps_the_mean_of_the_product(make_cell, draw):
    cell = make_cell("rnn", activation="identity", recurrent_dropout=0.4)
    h, x = draw(1, 4).expand(20_000, 4), draw(1, 1, 3).expand(1, 20_000, 3)
    torch.manual_seed(0)
    dropped = unroll(cell, x, State(h))[0].mean(dim=1)
    whole = unroll(cell.eval(), x[:, :1], State(h[:1]))[0][:, 0]

    # 20,000 masks: a standard error of about 0.006
    torch.testing.assert_close(dropped, whole, rtol=0, atol=0.03)


@pytest.mark.parametrize("kind", TAKING["recurrent_dropout"])
def test_a_sequence_draws_one_mask_and_leaves_none_behind(kind, make_cell, draw):
    cell, x = make_cell(kind, recurrent_dropout=0.5), draw(6, 8, 3)
    plain = unroll(make_cell(kind), x)[0]
    torch.manual_seed(3)
    dropped = unroll(cell, x)[0]
    drawn = torch.get_rng_state()
    torch.manual_seed(3)
    torch.empty(8, 4, dtype=torch.float64).bernoulli_(0.5)

    assert torch.equal(drawn, torch.get_rng_state())
    assert not torch.equal(dropped[1:], plain[1:])
    if kind != "lem":  # whose last product is with the new C; everywhere else h_0 is zero with or without
        torch.testing.assert_close(dropped[0], plain[0], rtol=1e-12, atol=1e-13)
    state = some_state(cell, 8, draw)
    assert torch.equal(cell.step(cell.project(x)[0], state).h, make_cell(kind).step(cell.project(x)[0], state).h)
    torch.testing.assert_close(unroll(cell.eval(), x)[0], plain, rtol=1e-12, atol=1e-13)


def test_an_error_within_a_sequence_leaves_no_mask_behind(make_cell, draw):
    cell, x = make_cell("gru", recurrent_dropout=0.5), draw(3, 2, 3)
    with pytest.raises(RuntimeError):
        unroll(cell, x, State(draw(2, 5)))  # a state of five units

    expected = make_cell("gru").step(make_cell("gru").project(x)[0], State(draw(2, 4)))
    assert torch.equal(cell.step(cell.project(x)[0], State(draw(2, 4))).h, expected.h)


@pytest.mark.parametrize("kind", registry.kinds())
def test_the_same_seed_gives_the_same_numbers_in_training(kind, make_cell, draw):
    cell, x, found = make_cell(kind, **all_options(kind)), draw(5, 2, 3), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(unroll(cell, x)[0])

    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(unroll(cell.eval(), x)[0], unroll(cell.eval(), x)[0])


@pytest.mark.parametrize(
    ("kind", "training"),
    [*((kind, True) for kind in registry.kinds()), ("lstm", False), ("gru", False), ("slstm", False)],
)
def test_derivatives_with_options_agree_with_differences(kind, training, make_cell, draw):
    cell = make_cell(kind, input_size=2, hidden_size=3, **all_options(kind)).train(training)
    state = parts(some_state(cell, 1, draw))
    inputs = [part.clone().requires_grad_() for part in (draw(2, 1, 2), *state)]

    def final(x, *rest):
        torch.manual_seed(0)
        states = unroll_states(cell, x, State(*rest[: len(state)]))
        return tuple(parts(states[-1]))

    assert gradcheck(final, [*inputs, *cell.parameters()], fast_mode=True)


@pytest.mark.parametrize("option", OPTIONS)
def test_auto_runs_the_loop_and_other_backends_say_why_not(option, make_cell, draw):
    cell, x = make_cell("lstm", dtype=torch.float32, **{option: OPTIONS[option]}), draw(5, 2, 3).float()
    found = []
    for backend in ("auto", "loop"):
        torch.manual_seed(0)
        found.append(unroll(cell, x, backend=backend)[0])

    assert torch.equal(*found)
    for backend in ("torch", "numba"):
        expected = f"backend='{backend}': a lstm cell has no such form with these options; use 'auto' or 'loop'"
        with pytest.raises(ConfigError, match=re.escape(expected)):
            unroll(cell, x, backend=backend)


@pytest.mark.parametrize("kind", registry.kinds())
def test_whatever_runs_a_cell_outside_of_training_knows_its_options(kind, make_cell, draw):
    cell, x = make_cell(kind, dtype=torch.float32, **all_options(kind) | {"zoneout": 0.0}).eval(), draw(9, 2, 3).float()
    # float32, in another order
    torch.testing.assert_close(unroll(cell, x)[0], unroll(cell, x, backend="loop")[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(unroll(cell, x)[0], unroll(make_cell(kind, dtype=torch.float32), x)[0], atol=1e-2)


WITH_CHRONO = [kind for kind in registry.kinds() if "chrono_t_max" in registry.load(kind).Config.model_fields]


def test_chrono_initialisation_is_there_wherever_a_gate_that_keeps_memory_has_a_bias():
    # no gates; u in its place; no forget gate; a gate without bias
    assert set(registry.kinds()) - set(WITH_CHRONO) == {"rnn", "irnn", "indrnn", "nfg", "mgu2"}


@pytest.mark.parametrize("kind", WITH_CHRONO)
def test_chrono_initialisation_spreads_time_scales_over_the_range_given(kind):
    """Tallec & Ollivier (2018), section 2: a unit that keeps f of its memory has a time scale of 1 / (1 − f) steps."""
    cls = registry.load(kind)
    needed = {"bias": True} if "bias" in cls.Config.model_fields else {}
    config = cls.Config(hidden_size=200, chrono_t_max=101, **needed)
    cell = cls(1, config, generator=torch.Generator().manual_seed(0)).double()
    if kind == "slstm":  # whose shares depend on what is stored
        kept = cell.bias.detach().chunk(4)[cell.gates.index("forget")].sigmoid()
    else:
        kept = cell.kept(cell.gate_values(cell.project(torch.zeros(1, 1, 1).double())[0], cell.initial_state(1)))[0]
    scales = 1 / (1 - kept)

    assert scales.min() >= 2 - 1e-6
    assert scales.max() <= 101 + 1e-4
    assert scales.mean().item() == pytest.approx(51.5, abs=7)  # 1 + U(1, 100); 200 draws have a standard error of 2


def test_recurrent_dropout_costs_nothing_outside_of_training(make_cell):
    cell = make_cell("lstm", recurrent_dropout=0.5)

    assert cell.needs_loop
    assert not cell.eval().needs_loop
