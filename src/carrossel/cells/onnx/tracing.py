"""A function of tensors as ONNX nodes: traced by torch, twice, and said again operation by operation.

torch's own exporter does the same for whole networks, in 5 s the first time and 1.2 s from then on; this takes 0.1 s, and
every training pays it. What a third party's cell computes beyond `operations` goes through torch's exporter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from carrossel.cells.onnx.exporting import export
from carrossel.cells.onnx.operations import OPERATIONS, Context
from carrossel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carrossel.cells.onnx.graph import Graph

BATCHES = (2, 3)


def trace(
    graph: Graph,
    function: Callable[..., tuple[Tensor, ...]],
    example: Callable[[int], tuple[Tensor, ...]],
    inputs: Sequence[str],
) -> list[str]:
    """Add what a function computes to a graph, for any size of the batch.

    Args:
        function: of float32 tensors, without branches that depend on their values.
        example: its arguments for a given batch.
        inputs: names of its arguments in the graph.

    Returns:
        Names of its results in the graph.

    Raises:
        ModelError: if it computes what ONNX can't say.
    """
    # Traced with two sizes: a number that differs is the batch's.
    few, more = (_trace(function, example(batch)) for batch in BATCHES)
    if any(target not in OPERATIONS for target in _targets(few)):
        return export(graph, function, example, inputs)
    return Context(graph, few, more, BATCHES).run(inputs)


def _trace(function: Callable[..., Any], arguments: tuple[Tensor, ...]) -> fx.GraphModule:
    from torch.fx.experimental.proxy_tensor import make_fx

    try:
        with torch.no_grad():
            # Before dispatch, where chunk and linear are still themselves.
            return make_fx(function, pre_dispatch=True)(*arguments)
    except RuntimeError as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"what is to be exported can't be traced: {line[:200]} Write it without branches by values."
        ) from None


def _targets(traced: fx.GraphModule) -> set[Any]:
    """What is done to the inputs; what is done to weights alone is computed, not said in ONNX."""
    inputs: set[fx.Node] = set()
    for node in traced.graph.nodes:
        if node.op == "placeholder" or not inputs.isdisjoint(node.all_input_nodes):
            inputs.add(node)
    return {node.target for node in inputs if node.op == "call_function"}
