"""One cell along a sequence as part of a graph. Knows no cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from carrossel.cells.base import State
from carrossel.cells.onnx.graph import floats
from carrossel.cells.onnx.tracing import trace

if TYPE_CHECKING:
    from torch import Tensor

    from carrossel.cells.base import Cell
    from carrossel.cells.onnx.form import NativeForm
    from carrossel.cells.onnx.graph import Graph


def add_layer(graph: Graph, cell: Cell, x: str) -> tuple[str, str]:
    """A cell from zero states along x, [time, batch, input_size]: a constant number of nodes, whatever the length.

    Returns:
        Names of all hidden states, [time, batch, hidden], and of the last one, [batch, hidden].

    Raises:
        ModelError: if the cell has no native operator and its step computes what ONNX can't say.
    """
    form = None if cell.needs_loop else cell.native()
    return _add_scan(graph, cell, x) if form is None else _add_operator(graph, form, x)


def _add_operator(graph: Graph, form: NativeForm, x: str) -> tuple[str, str]:
    hidden = form.weight_h.shape[1]
    nothing = form.weight_h.new_zeros(len(form.weight_h))
    biases = (each if each is not None else nothing for each in (form.bias, form.bias_h))
    inputs = [x, *(graph.constant(_numpy(each)[None]) for each in (form.weight_x, form.weight_h, torch.cat([*biases])))]
    if form.peephole is not None:  # after the lengths of sequences, h_0 and C_0
        inputs += ["", "", "", graph.constant(_numpy(form.peephole)[None])]
    states, last = graph.add_many(form.operator, inputs, 2, hidden_size=hidden, **form.attributes)
    # axis 1 of the states, axis 0 of the last one are directions, of which there is one
    return (
        graph.add("Squeeze", states, graph.constant([1], np.int64)),
        graph.add("Squeeze", last, graph.constant([0], np.int64)),
    )


def _add_scan(graph: Graph, cell: Cell, x: str) -> tuple[str, str]:
    def example(batch: int) -> tuple[Tensor, ...]:
        kept = (part for part in cell.initial_state(batch) if part is not None)
        return (cell.project(cell.weight_x.new_zeros(1, batch, cell.input_size))[0], *kept)

    def step(projected: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return tuple(part for part in cell.advance(projected, State(*state)) if part is not None)

    # `project` knows no time: all steps are one long batch.
    flat = graph.add("Reshape", x, graph.constant([1, -1, cell.input_size], np.int64))
    (long,) = trace(
        graph,
        lambda each: (cell.project(each),),
        lambda batch: (cell.weight_x.new_zeros(1, batch, cell.input_size),),
        [flat],
    )
    steps = graph.add("Shape", x, start=0, end=2)
    rows = graph.constant([example(2)[0].shape[1]], np.int64)
    projected = graph.add("Reshape", long, graph.add("Concat", steps, rows, axis=0))
    body = graph.subgraph()
    sizes = [part.shape[1] for part in example(2)]
    names = [body.fresh(name) for name in ("projected", "h", "c")[: len(sizes)]]
    after = trace(body, step, example, names)
    emitted = body.add("Identity", after[0])
    inputs = [floats(name, "batch", size) for name, size in zip(names, sizes, strict=True)]
    outputs = [
        floats(name, "batch", size) for name, size in zip([*after, emitted], [*sizes[1:], sizes[1]], strict=True)
    ]
    zeros = [_zeros(graph, x, size) for size in sizes[1:]]
    found = graph.add_many(
        "Scan",
        [*zeros, projected],
        len(zeros) + 1,
        body=body.finish("step", [*inputs[1:], inputs[0]], outputs),
        num_scan_inputs=1,
    )
    return found[-1], found[0]


def _zeros(graph: Graph, x: str, size: int) -> str:
    """[batch, size] for x of [time, batch, …]."""
    batch = graph.add("Shape", x, start=1, end=2)
    shape = graph.add("Concat", batch, graph.constant([size], np.int64), axis=0)
    return graph.add("ConstantOfShape", shape)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
