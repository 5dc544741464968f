"""The contract of every cell: a new file in cells/ is under these tests the moment it exists."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch.autograd import gradcheck, gradgradcheck

import carrossel.cells
from carrossel.cells import CellConfig, State, registry
from carrossel.cells.unrolling import unroll, unroll_stack, unroll_states
from carrossel.config import validate
from carrossel.errors import ConfigError

FOLDER = Path(carrossel.cells.__file__).parent
KINDS = registry.kinds()

RECTIFIERS = ("indrnn", "irnn")

pytestmark = pytest.mark.parametrize("kind", KINDS)


def gradients(cell, x, state, backend):
    """Output, last state, and gradients by x, the state and every parameter of a loss that weighs each output."""
    x = x.clone().requires_grad_()
    state = State(*(part if part is None else part.clone().requires_grad_() for part in state))
    h, last = unroll(cell, x, state, backend)
    outputs = [h, *(part for part in last if part is not None)]
    loss = sum(
        (part * torch.arange(1, part.numel() + 1, dtype=part.dtype).view_as(part).cos()).sum() for part in outputs
    )
    inputs = [x, *(part for part in state if part is not None), *cell.parameters()]
    return outputs, torch.autograd.grad(loss, inputs)


def generic_state(cell, batch, draw):
    h = draw(batch, cell.hidden_size, seed=1).tanh()
    if cell.memory_parts > 1:  # gates, or a normaliser: not any numbers, but such as the cell itself writes
        with torch.no_grad():
            start = cell.initial_state(batch)._replace(h=h)
            return unroll(cell, draw(3, batch, cell.input_size, seed=2), start, "loop")[1]
    return State(h, draw(batch, cell.hidden_size, seed=2) if cell.has_memory else None)


def named_blocks(cell):
    """Names of the blocks of bias, weight_x and weight_h."""
    return cell.gates, *(cell.gates if each is None else each for each in (cell.blocks_x, cell.blocks_h))


def test_kind_is_the_files_name(kind):
    cls = registry.load(kind)

    assert cls.kind == kind
    assert Path(sys.modules[cls.__module__].__file__) == FOLDER / f"{kind}.py"


def test_a_cells_file_imports_no_other_cell(kind):
    tree = ast.parse((FOLDER / f"{kind}.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}

    assert not imported & {f"carrossel.cells.{other}" for other in KINDS}


def test_docstring_has_equations_and_a_dated_reference(kind):
    text = registry.load(kind).__doc__

    assert "h_t = " in text
    assert re.search(r"References:\n.*\(\d{4}\)", text, re.DOTALL)


def test_gates_name_the_blocks_of_the_weights(kind, make_cell):
    cell = make_cell(kind, input_size=3, hidden_size=4)
    rows, rows_x, rows_h = (4 * len(each) for each in named_blocks(cell))

    assert len(set(cell.gates)) == len(cell.gates) >= 1
    assert all(set(each) <= set(cell.gates) for each in named_blocks(cell))
    assert cell.weight_x.shape == (rows_x, 3)
    assert (cell.weight_h is None) == (rows_h == 0)
    assert cell.weight_h is None or cell.weight_h.shape == (rows_h, 4)
    assert cell.bias is None or cell.bias.shape == (rows,)


def test_recurrent_blocks_are_square_and_named_by_gate(kind, make_cell):
    blocks = make_cell(kind, hidden_size=4).recurrent_blocks()

    assert set(blocks) <= set(registry.load(kind).gates)
    assert all(block.shape == (4, 4) for block in blocks.values())


def test_config_is_frozen_and_forbids_unknown_keys(kind):
    config = registry.load(kind).Config

    assert issubclass(config, CellConfig)
    assert config.model_config["frozen"]
    with pytest.raises(ConfigError, match=rf"cells\.{kind}\.hiden_size = 3: unknown key; allowed keys: hidden_size"):
        validate({"hiden_size": 3}, config, f"cells.{kind}")


@pytest.mark.parametrize(
    ("key", "value"), [("hidden_size", 0), ("layers", 0), ("dropout", 1.0), ("dropout", -0.1), ("hidden_size", 2.5)]
)
def test_config_refuses_what_no_cell_can_be(kind, key, value):
    with pytest.raises(ConfigError, match=rf"cells\.{kind}\.{key} = {value}"):
        validate({key: value}, registry.load(kind).Config, f"cells.{kind}")


def test_every_config_field_says_what_it_does(kind):
    assert all(field.description for field in registry.load(kind).Config.model_fields.values())


def test_initial_state_is_zero_with_the_weights_dtype(kind, make_cell):
    cell = make_cell(kind, dtype=torch.float64)
    state = cell.initial_state(5)

    assert torch.equal(state.h, torch.zeros(5, 4, dtype=torch.float64))
    assert (state.c is not None) == cell.has_memory
    assert state.c is None or torch.equal(state.c, torch.zeros(5, 4 * cell.memory_parts, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["auto", "loop"])
def test_unroll_gives_each_steps_h_and_the_last_state(kind, backend, make_cell, draw):
    cell = make_cell(kind)
    h, last = unroll(cell, draw(6, 5, 3), backend=backend)

    assert h.shape == (6, 5, 4)
    assert torch.equal(h[-1], last.h)
    assert (last.c is not None) == cell.has_memory


@pytest.mark.parametrize("backend", ["auto", "loop"])
def test_unrolling_in_chunks_is_unrolling_at_once(kind, backend, make_cell, draw):
    cell, x = make_cell(kind), draw(7, 2, 3)
    whole, last = unroll(cell, x, backend=backend)
    first, between = unroll(cell, x[:3], backend=backend)
    second, end = unroll(cell, x[3:], between, backend=backend)

    # the same operations on the same numbers, but GEMM may sum in another order for another number of rows
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(end, last, rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["auto", "loop"])
def test_sequences_of_a_batch_dont_see_each_other(kind, backend, make_cell, draw):
    cell, x = make_cell(kind), draw(5, 4, 3)
    state = generic_state(cell, 4, draw)
    order = torch.tensor([2, 0, 3, 1])
    permuted = State(*(part if part is None else part[order] for part in state))

    h, _ = unroll(cell, x, state, backend)
    of_permuted, _ = unroll(cell, x[:, order], permuted, backend)

    torch.testing.assert_close(of_permuted, h[:, order], rtol=0, atol=1e-14)


def test_h_at_a_step_knows_no_later_x(kind, make_cell, draw):
    cell, x = make_cell(kind), draw(6, 2, 3).requires_grad_()
    if kind in RECTIFIERS:
        cell.bias.data.fill_(5)  # a shut unit passes nothing back, whatever it knows
    h, _ = unroll(cell, x)
    (by_x,) = torch.autograd.grad(h[2].sum(), x)

    assert by_x[:3].abs().min() > 0
    assert torch.equal(by_x[3:], torch.zeros(3, 2, 3, dtype=torch.float64))


def test_one_step_is_the_first_of_an_unrolling(kind, make_cell, draw):
    cell, x = make_cell(kind), draw(1, 2, 3)
    state = generic_state(cell, 2, draw)
    stepped = cell.step(cell.project(x)[0], state)

    torch.testing.assert_close(unroll(cell, x, state, "loop")[1], stepped, rtol=0, atol=0)


def test_states_are_nodes_that_the_gradient_passes(kind, make_cell, draw):
    cell, x = make_cell(kind), draw(4, 2, 3)
    states = unroll_states(cell, x)
    by_state = torch.autograd.grad(states[-1].h.sum(), [state.h for state in states])

    assert len(states) == 4
    assert all(gradient.abs().max() > 0 for gradient in by_state)


def test_stacked_cells_feed_their_hidden_states_upwards(kind, make_cell, draw):
    lower, upper = make_cell(kind), make_cell(kind, input_size=4, seed=1)
    x = draw(5, 2, 3)
    states = unroll_stack([lower, upper], x)
    below, _ = unroll(lower, x, backend="loop")
    above, _ = unroll(upper, below, backend="loop")

    assert [len(layer) for layer in states] == [5, 5]
    assert torch.equal(states[1][-1].h, above[-1])


def test_first_and_second_derivatives_agree_with_differences(kind, make_cell, draw):
    cell = make_cell(kind, input_size=2, hidden_size=2)
    state = [part for part in generic_state(cell, 1, draw) if part is not None]
    inputs = [draw(2, 1, 2), *state]
    inputs = [*(part.clone().requires_grad_() for part in inputs), *cell.parameters()]

    def final(x, *rest):
        h, last = unroll(cell, x, State(*rest[: len(state)]), "loop")
        return (h, last.c) if cell.has_memory else h

    assert gradcheck(final, inputs)
    # along random directions in place of every pair of inputs, which takes as much time as all other tests of the kind
    assert gradgradcheck(final, inputs, fast_mode=True)


def test_the_torch_backend_is_the_loop(kind, make_cell, draw):
    """Outputs and all gradients agree, whether torch.nn has the layer or its backward pass is written out."""
    cell, x = make_cell(kind), draw(9, 5, 3)
    state = generic_state(cell, 5, draw)
    if cell.fast() is None:
        with pytest.raises(ConfigError, match="no such form; use 'auto' or 'loop'"):
            unroll(cell, x, state, "torch")
        return
    loop, by_loop = gradients(cell, x, state, "loop")
    fused, by_fused = gradients(cell, x, state, "torch")

    # float64 keeps 16 digits; nine steps lose two or three
    torch.testing.assert_close(fused, loop, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(by_fused, by_loop, rtol=1e-12, atol=1e-12)


def test_float32_agrees_with_float64(kind, make_cell, draw):
    x = draw(12, 5, 3)
    double, single = make_cell(kind), make_cell(kind, dtype=torch.float32)
    state = generic_state(double, 5, draw)
    exact, by_exact = gradients(double, x, state, "loop")
    state = State(*(part if part is None else part.float() for part in state))
    for backend in ("loop", "auto"):
        rounded, by_rounded = gradients(single, x.float(), state, backend)
        # float32 keeps 7 digits; sums over 12 steps × 5 sequences of gradients near 10 lose one or two
        torch.testing.assert_close([part.double() for part in rounded], exact, rtol=0, atol=1e-5)
        torch.testing.assert_close([part.double() for part in by_rounded], list(by_exact), rtol=1e-4, atol=1e-4)


def test_second_derivatives_of_auto_are_the_loops(kind, make_cell, draw):
    cell, x = make_cell(kind), draw(4, 2, 3)

    def second(backend):
        point = x.clone().requires_grad_()
        (by_x,) = torch.autograd.grad(unroll(cell, point, backend=backend)[0].sum(), point, create_graph=True)
        return torch.autograd.grad(by_x.square().sum(), list(cell.parameters()), allow_unused=True)

    torch.testing.assert_close(second("auto"), second("loop"), rtol=1e-11, atol=1e-12)


def test_state_dict_survives_safetensors(kind, make_cell, draw, tmp_path):
    cell, x = make_cell(kind, seed=3), draw(4, 2, 3)
    safetensors.torch.save_file(cell.state_dict(), tmp_path / "cell.safetensors")
    other = make_cell(kind, seed=4)
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "cell.safetensors"))

    assert torch.equal(unroll(other, x)[0], unroll(cell, x)[0])


def test_running_the_fused_layer_adds_nothing_to_the_cell(kind, make_cell, draw):
    cell = make_cell(kind)
    before = list(cell.state_dict())
    unroll(cell, draw(4, 2, 3))

    assert list(cell.state_dict()) == before
    assert not list(cell.children())


@pytest.mark.parametrize("shape", [(4, 2, 5), (4, 3), (0, 2, 3)])
def test_wrong_shapes_are_named(kind, shape, make_cell):
    expected = re.escape(f"{kind} cell got x of shape {list(shape)}; expected [time ≥ 1, batch, 3]")
    with pytest.raises(ValueError, match=expected):
        unroll(make_cell(kind), torch.zeros(shape, dtype=torch.float64))


def test_a_cell_without_features_is_refused(kind):
    cls = registry.load(kind)
    with pytest.raises(ValueError, match="input_size=0"):
        cls(0, cls.Config())


def test_equal_generators_give_equal_weights(kind):
    cls = registry.load(kind)
    first, second, other = (
        cls(3, cls.Config(hidden_size=4), generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.weight_x, other.weight_x)


def test_without_a_generator_the_global_seed_decides(kind):
    cls = registry.load(kind)
    cells = []
    for _ in range(2):
        torch.manual_seed(5)
        cells.append(cls(3, cls.Config(hidden_size=4)))

    assert torch.equal(cells[0].weight_x, cells[1].weight_x)


def test_recurrent_blocks_start_orthogonal(kind):
    cls = registry.load(kind)
    cell = cls(3, cls.Config(hidden_size=6), generator=torch.Generator().manual_seed(0))
    for block in () if cell.weight_h is None else cell.weight_h.detach().split(6):
        torch.testing.assert_close(block @ block.T, torch.eye(6), rtol=0, atol=1e-5)  # QR in float32


def test_input_blocks_start_xavier_uniform(kind):
    cls = registry.load(kind)
    if hasattr(cls.Config(), "input_std"):
        return  # the cell's paper has a start of its own, which the cell's own test checks
    cell = cls(5, cls.Config(hidden_size=200), generator=torch.Generator().manual_seed(0))
    bound = (6 / (5 + 200)) ** 0.5
    for block in cell.weight_x.detach().split(200):
        assert block.abs().max() <= bound
        assert block.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)  # 1000 draws of a uniform
