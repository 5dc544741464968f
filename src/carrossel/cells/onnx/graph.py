"""An ONNX graph in the making: nodes in order, constants, names that never meet."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto

OPSET = 22  # the newest of LSTM, GRU and RNN
IR_VERSION = 10  # one that older runtimes read as well


class Graph:
    """Nodes and constants.

    Args:
        numbers: where fresh names come from; a subgraph shares its parent's, since it sees the parent's names.
    """

    def __init__(self, numbers: Iterator[int] | None = None) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._numbers = numbers or count()

    def fresh(self, stem: str) -> str:
        """A name that nothing has yet."""
        return f"{stem}_{next(self._numbers)}"

    def subgraph(self) -> Graph:
        """An empty graph inside of this one."""
        return Graph(self._numbers)

    def constant(self, value: Any, dtype: Any = None, name: str | None = None) -> str:
        """A constant tensor: its name."""
        from onnx import numpy_helper

        name = name or self.fresh("constant")
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype, order="C"), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output: its name."""
        return self.add_many(operator, inputs, 1, **attributes)[0]

    def add_many(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """A node with several outputs: their names.

        Args:
            inputs: `""` for one left out.
        """
        from onnx import helper

        names = [self.fresh(operator.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=self.fresh("node"), **attributes))
        return names

    def emit(self, name: str, output: str) -> None:
        """Hand a value out under a name of its own."""
        from onnx import helper

        self.nodes.append(helper.make_node("Identity", [name], [output], name=self.fresh("node")))

    def finish(self, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> GraphProto:
        """The graph."""
        from onnx import helper

        return helper.make_graph(self.nodes, name, list(inputs), list(outputs), self.constants)


def floats(name: str, *shape: str | int | None) -> ValueInfoProto:
    """A float32 input or output; a name stands for a size that may differ from call to call."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
