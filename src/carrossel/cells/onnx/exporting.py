"""torch's own exporter, for what `operations` doesn't know."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from carrossel.cells.onnx.graph import OPSET
from carrossel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onnx import GraphProto

    from carrossel.cells.onnx.graph import Graph


class _Function(nn.Module):
    def __init__(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        return self.function(*arguments)


def export(
    graph: Graph,
    function: Callable[..., tuple[Tensor, ...]],
    example: Callable[[int], tuple[Tensor, ...]],
    inputs: Sequence[str],
) -> list[str]:
    """As `carrossel.cells.onnx.tracing.trace`, for whatever torch can export; takes seconds.

    Raises:
        ModelError: if torch can't.
    """
    few, more = example(2), example(3)
    batch = torch.export.Dim("batch", min=1)
    sizes = [
        {axis: batch for axis, pair in enumerate(zip(one.shape, other.shape, strict=True)) if pair[0] != pair[1]}
        for one, other in zip(few, more, strict=True)
    ]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")  # about the exporter's own code
            program = torch.onnx.export(
                _Function(function).eval(),
                more,  # a batch of another size than any weight's is likely to be
                dynamo=True,
                dynamic_shapes=(tuple(sizes),),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # noqa: BLE001 - torch's have no class in common
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"a cell's step can't be said in ONNX ({type(error).__name__}: {line[:200]}). Write it with other operations, "
            "or name its operator in `native`."
        ) from None
    if program is None:
        raise ModelError("torch exported nothing.")
    return _embed(graph, program.model_proto.graph, inputs)


def _embed(graph: Graph, other: GraphProto, inputs: Sequence[str]) -> list[str]:
    """Nodes and constants of another graph under fresh names: names of its outputs."""
    names: dict[str, str] = {"": ""}
    names.update(zip((each.name for each in other.input), inputs, strict=True))

    def renamed(name: str) -> str:
        if name not in names:
            names[name] = graph.fresh("exported")
        return names[name]

    for constant in other.initializer:
        constant.name = renamed(constant.name)
        graph.constants.append(constant)
    for node in other.node:
        _rename(node, renamed, graph)
        graph.nodes.append(node)
    return [renamed(each.name) for each in other.output]


def _rename(node: Any, renamed: Callable[[str], str], graph: Graph) -> None:
    node.name = graph.fresh("node")
    for names in (node.input, node.output):
        names[:] = [renamed(name) for name in names]
    node.ClearField("metadata_props")
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for each in attribute.g.node:
                _rename(each, renamed, graph)
            for value in (*attribute.g.input, *attribute.g.output, *attribute.g.initializer):
                value.name = renamed(value.name)
