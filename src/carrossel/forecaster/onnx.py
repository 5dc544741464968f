"""A network as ONNX: scaled windows in; point forecast and quantiles out, in scaled label units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.cells.onnx.graph import IR_VERSION, OPSET, Graph, floats
from carrossel.cells.onnx.layers import add_layer
from carrossel.cells.onnx.tracing import trace
from carrossel.targets.base import QUANTILES

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto
    from torch import Tensor

    from carrossel.forecaster.network import Network

ONNX = "model.onnx"


def write_onnx(path: Path, network: Network) -> None:
    """Write `export(network)`. `path` is written to as it is: see `files.replacing`.

    Raises:
        ModelError: see `export`.
    """
    path.write_bytes(export(network).SerializeToString())


def export(network: Network) -> ModelProto:
    """The network, dropout and all that is for training aside, in a constant number of nodes for windows of any length and number.

    Input `windows`, float32 [batch, lookback, features]; outputs `point`, [batch, horizons], and, where the head has them,
    `quantiles` at `QUANTILES`, [batch, horizons, levels]. The same weights give the same bytes.

    Raises:
        ModelError: if a cell or the head computes what ONNX can't say.
    """
    training = network.training
    network.eval()
    try:
        return _export(network)
    finally:
        network.train(training)


def _export(network: Network) -> ModelProto:
    from onnx import helper

    graph, head = Graph(), network.head
    hidden = graph.add("Transpose", "windows", perm=[1, 0, 2])
    last = ""
    for depth, cell in enumerate(network.cells):
        below = hidden
        hidden, last = add_layer(graph, cell, below)
        if network.bidirectional:
            backward, first = add_layer(graph, network.reverse_cells[depth], _reverse(graph, below))
            hidden = graph.add("Concat", hidden, _reverse(graph, backward), axis=2)
            last = graph.add("Concat", last, first, axis=1)

    def answer(h: Tensor) -> tuple[Tensor, ...]:
        raw = head(h)
        quantiles = head.quantiles(raw, QUANTILES)
        return (head.point(raw),) if quantiles is None else (head.point(raw), quantiles)

    weights = head.linear.weight
    found = trace(graph, answer, lambda batch: (weights.new_zeros(batch, weights.shape[1]),), [last])
    outputs = [floats("point", "batch", head.horizons), floats("quantiles", "batch", head.horizons, len(QUANTILES))]
    for name, value in zip(found, outputs, strict=False):
        graph.emit(name, value.name)
    inputs = [floats("windows", "batch", "lookback", network.cells[0].input_size)]
    return helper.make_model(
        graph.finish("forecaster", inputs, outputs[: len(found)]),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="carrossel",
    )


def _reverse(graph: Graph, x: str) -> str:
    """The last step first: -1 is the last one, and the smallest number stands for "past the first"."""
    start, end, axis, step = ([-1], [np.iinfo(np.int64).min], [0], [-1])
    return graph.add("Slice", x, *(graph.constant(each, np.int64) for each in (start, end, axis, step)))
