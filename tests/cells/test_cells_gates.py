"""What every cell says about its gates is what its step computes."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from carrossel.cells import State, registry

SHARES = ("slstm",)  # its gates are shares, since an exponential has no upper end: test_cells_exponential.py
KINDS = [kind for kind in registry.kinds() if kind not in SHARES]


class Recorder(TorchDispatchMode):
    """Keeps every tensor that is computed under it, and counts what went through σ."""

    def __init__(self):
        super().__init__()
        self.seen, self.sigmoids = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.seen += [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        if function is torch.ops.aten.sigmoid.default:
            self.sigmoids += out.numel()
        return out


def one_step(kind, make_cell, draw):
    """A generic cell, with what its step gets: five sequences."""
    cell = make_cell(kind)
    memory = draw(5, 4 * cell.memory_parts, seed=2) if cell.has_memory else None
    state = State(draw(5, 4, seed=1).tanh(), memory)
    return cell, cell.project(draw(1, 5, 3))[0].detach(), state


@pytest.mark.parametrize("kind", KINDS)
def test_each_gate_is_a_tensor_that_step_itself_computes_and_none_is_left_out(kind, make_cell, draw):
    cell, projected, state = one_step(kind, make_cell, draw)
    gates = cell.gate_values(projected, state)
    with Recorder() as recorder:
        cell.step(projected, state)

    for name, values in gates.items():
        assert any(seen.shape == values.shape and torch.equal(seen, values) for seen in recorder.seen), name
    assert sum(values.numel() for values in gates.values()) == recorder.sigmoids


@pytest.mark.parametrize("kind", KINDS)
def test_each_gate_is_the_sigmoid_of_the_block_of_its_name(kind, make_cell, draw):
    """∂gate/∂its own block = gate · (1 − gate), unit by unit: another block's gate would give 0 there."""
    cell, projected, state = one_step(kind, make_cell, draw)
    blocks = dict(zip(cell.gates, projected.requires_grad_().chunk(len(cell.gates), dim=1), strict=True))
    projected = torch.cat([*blocks.values()], dim=1)

    for name, values in cell.gate_values(projected, state).items():
        (by_block,) = torch.autograd.grad(values.sum(), blocks[name], retain_graph=True)
        # float64's own digits
        torch.testing.assert_close(by_block, values * (1 - values), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_kept_is_how_the_memory_passes_a_step_whose_gates_dont_see_it(kind, make_cell, draw):
    """With every weight on the state zero, C_t = kept * C_{t−1} + …; for cells without C the same of h."""
    cell, projected, state = one_step(kind, make_cell, draw)
    for name, parameter in cell.named_parameters():
        if name not in ("weight_x", "bias"):
            parameter.data.zero_()
    kept = cell.kept(cell.gate_values(projected, state))

    def pass_on(memory):
        if state.c is None:
            return cell.step(projected, State(memory)).h
        rest = state.memory[:, 4:]  # what a cell keeps in C besides
        return cell.step(projected, state._replace(c=torch.cat([memory, rest], dim=1))).memory[:, :4]

    jacobian = torch.autograd.functional.jacobian(pass_on, state.h if state.c is None else state.c[:, :4])
    expected = torch.zeros(20, 20, dtype=torch.float64) if kept is None else kept.flatten().diag()
    torch.testing.assert_close(jacobian.reshape(20, 20), expected, rtol=1e-13, atol=1e-16)


def test_an_rnn_has_no_gates_and_keeps_nothing(make_cell, draw):
    cell, projected, state = one_step("rnn", make_cell, draw)

    assert cell.gate_values(projected, state) == {}
    assert cell.kept({}) is None


@pytest.mark.parametrize("kind", ["lstm", "gru_reset_after"])
def test_with_a_large_bias_a_gate_is_open_and_its_unit_keeps_everything(kind, make_cell, draw):
    cell, projected, state = one_step(kind, make_cell, draw)
    rows = cell.gates.index("forget" if kind == "lstm" else "update") * 4
    gates = cell.gate_values(
        projected.index_add(1, torch.tensor([rows + 2]), torch.full((5, 1), 800.0).double()), state
    )

    assert cell.kept(gates)[:, 2].tolist() == [1.0] * 5
