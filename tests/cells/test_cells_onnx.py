"""onnxruntime's own LSTM, GRU and RNN operators, which nobody here wrote, give the same numbers."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, checker, helper

from carrossel.cells import State
from carrossel.cells.unrolling import unroll

HIDDEN, INPUTS, STEPS, BATCH = 4, 3, 12, 5
OPSET, IR_VERSION = 22, 10  # RNN, LSTM and GRU as of opset 22; an IR version that older runtimes read as well


def operator(name, tensors, attributes):
    """Run one recurrent operator; `tensors` in the operator's own input order, absent ones None."""
    feeds = {f"input_{n}": value.astype(np.float32) for n, value in enumerate(tensors) if value is not None}
    names = [f"input_{n}" if value is not None else "" for n, value in enumerate(tensors)]
    node = helper.make_node(name, names, ["Y"], hidden_size=HIDDEN, **attributes)
    inputs = [helper.make_tensor_value_info(key, TensorProto.FLOAT, value.shape) for key, value in feeds.items()]
    outputs = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [STEPS, 1, BATCH, HIDDEN])]
    model = helper.make_model(
        helper.make_graph([node], "one_operator", inputs, outputs),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0][:, 0]


def ordered(cell, order, negated=()):
    """W, R and B in ONNX's layout: a direction axis in front, gates by `order`, B the input's biases, then zeros."""

    def blocks(tensor):
        named = dict(zip(cell.gates, tensor.detach().numpy().reshape(len(cell.gates), HIDDEN, -1), strict=True))
        return np.concatenate([-named[gate] if n in negated else named[gate] for n, gate in enumerate(order)])

    bias = blocks(cell.bias)[:, 0] if cell.bias is not None else np.zeros(len(order) * HIDDEN)
    return blocks(cell.weight_x)[None], blocks(cell.weight_h)[None], np.concatenate([bias, np.zeros_like(bias)])[None]


def rnn(cell, x, h0, c0):
    return operator("RNN", [x, *ordered(cell, ["hidden"]), None, h0], {})


def lstm(cell, x, h0, c0):
    return operator("LSTM", [x, *ordered(cell, ["input", "output", "forget", "candidate"]), None, h0, c0], {})


def peephole_diagonal(cell, x, h0, c0):
    p_i, p_f, p_o = cell.weight_c.detach().numpy()
    weights = ordered(cell, ["input", "output", "forget", "candidate"])
    return operator("LSTM", [x, *weights, None, h0, c0, np.concatenate([p_i, p_o, p_f])[None]], {})


def coupled(cell, x, h0, c0):
    weights = ordered(cell, ["forget", "output", "forget", "candidate"], negated=[0])
    return operator("LSTM", [x, *weights, None, h0, c0], {})


def gru(cell, x, h0, c0):
    weights = ordered(cell, ["update", "reset", "candidate"], negated=[0])  # ONNX's z weighs the old value
    return operator("GRU", [x, *weights, None, h0], {"linear_before_reset": 0})


def gru_reset_after(cell, x, h0, c0):
    W, R, B = ordered(cell, ["update", "reset", "candidate"])
    if cell.bias_h is not None:
        B[0, -HIDDEN:] = cell.bias_h.detach().numpy()
    return operator("GRU", [x, W, R, B, None, h0], {"linear_before_reset": 1})


OPERATORS = {run.__name__: run for run in (rnn, lstm, peephole_diagonal, coupled, gru, gru_reset_after)}
CASES = [(kind, {}) for kind in OPERATORS] + [("gru", {"bias": True}), ("gru_reset_after", {"bias": False})]


@pytest.mark.parametrize("backend", ["auto", "loop"])
@pytest.mark.parametrize(("kind", "config"), CASES)
def test_onnxruntime_gives_the_same_hidden_states(kind, config, backend, make_cell, draw):
    cell, x = make_cell(kind, **config), draw(STEPS, BATCH, INPUTS)
    h0, c0 = draw(BATCH, HIDDEN, seed=1).tanh(), draw(BATCH, HIDDEN, seed=2)
    ours, _ = unroll(cell, x, State(h0, c0 if cell.has_memory else None), backend)

    theirs = OPERATORS[kind](cell, x.numpy(), h0.numpy()[None], c0.numpy()[None])

    # onnxruntime computes in float32, our side in float64
    torch.testing.assert_close(torch.from_numpy(theirs).double(), ours.detach(), rtol=0, atol=1e-6)
