"""onnxruntime, which nobody here wrote, gives the same numbers for every cell: by its own operators, or by a Scan over the step."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import checker, helper

from carrossel.cells import Cell, CellConfig, State, registry
from carrossel.cells.onnx.graph import IR_VERSION, OPSET, Graph, floats
from carrossel.cells.onnx.layers import add_layer
from carrossel.cells.unrolling import unroll
from carrossel.errors import ModelError

HIDDEN, INPUTS = 4, 3
OPERATORS = {
    "coupled": "LSTM",
    "gru": "GRU",
    "gru_reset_after": "GRU",
    "lstm": "LSTM",
    "peephole": "Scan",
    "peephole_diagonal": "LSTM",
    "rnn": "RNN",
}
CASES = [(kind, {}) for kind in registry.kinds()] + [
    ("gru", {"bias": True}),
    ("lem", {"dt": 0.3}),
    ("mingru", {"positive": True}),
    ("minlstm", {"layer_norm": True}),
    ("slstm", {"forget": "exponential"}),
    ("gru_reset_after", {"bias": False}),
    ("rnn", {"activation": "relu"}),
    ("rnn", {"activation": "identity"}),
]


def export(cell):
    """A model of one layer, x to its hidden states and the last of them."""
    graph = Graph()
    states, last = add_layer(graph, cell, "x")
    graph.emit(states, "states")
    graph.emit(last, "last")
    outputs = [floats("states", "time", "batch", cell.hidden_size), floats("last", "batch", cell.hidden_size)]
    model = helper.make_model(
        graph.finish("layer", [floats("x", "time", "batch", cell.input_size)], outputs),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    checker.check_model(model, full_check=True)
    return model


def open_session(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def assert_the_same(session, cell, draw, sizes=((7, 5), (1, 1), (30, 2))):
    for steps, batch in sizes:
        x = draw(steps, batch, cell.input_size)
        ours, state = unroll(cell.double(), x, backend="loop")
        states, last = session.run(None, {"x": x.numpy().astype(np.float32)})
        # onnxruntime computes in float32, our side in float64
        torch.testing.assert_close(torch.from_numpy(states).double(), ours.detach(), rtol=0, atol=1e-6)
        torch.testing.assert_close(torch.from_numpy(last).double(), state.h.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_onnxruntime_gives_the_same_hidden_states(kind, config, make_cell, draw):
    cell = make_cell(kind, INPUTS, torch.float32, hidden_size=HIDDEN, **config)
    assert_the_same(open_session(export(cell)), cell, draw)


@pytest.mark.parametrize(("kind", "operator"), OPERATORS.items())
def test_each_cell_is_the_operator_that_onnx_has_for_it(kind, operator, make_cell):
    operators = [node.op_type for node in export(make_cell(kind, dtype=torch.float32)).graph.node]
    assert [name for name in operators if name in ("LSTM", "GRU", "RNN", "Scan")] == [operator]


class Unnamed(Cell):
    """A cell that somebody adds: no operator named, not an LSTM nor a GRU."""

    kind, gates = "unnamed", ("value", "gate")

    def step(self, projected, state):
        value, gate = (projected + state.h @ self.weight_h.T).chunk(2, dim=-1)
        moved = torch.where(value > 0, value, self.curve(value))
        return State(gate.sigmoid() * moved.tanh() + (1 - gate.sigmoid()) * state.h)

    def curve(self, value):
        return 0.1 * value


class Unusual(Unnamed):
    """One whose step our own table of operations doesn't have."""

    def curve(self, value):
        return torch.atan(value)


class Impossible(Unnamed):
    def curve(self, value):
        return value if value.sum() > 0 else -value


@pytest.mark.parametrize("cls", [Unnamed, Unusual])
def test_a_new_cell_is_exported_from_its_step_alone(cls, draw):
    cell = cls(INPUTS, CellConfig(hidden_size=HIDDEN), generator=torch.Generator().manual_seed(0))
    model = export(cell)
    assert "Scan" in [node.op_type for node in model.graph.node]
    assert_the_same(open_session(model), cell, draw)


def test_a_step_that_branches_by_its_values_is_refused():
    with pytest.raises(ModelError, match="without branches by values"):
        export(Impossible(INPUTS, CellConfig(hidden_size=HIDDEN)))
