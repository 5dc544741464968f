"""What torch's operations are called in ONNX: as many as cells and heads are made of."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx

from carrossel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carrossel.cells.onnx.graph import Graph

    Operation = Callable[..., Any]

aten = torch.ops.aten
_BATCH = "batch"
"""Stands for the batch's size among an operation's arguments."""


class Context:
    """One traced function on its way into a graph.

    A value is a name in the graph, a tensor that is the same for every input, or a list of these.

    Args:
        few: the function traced with a batch of the first size.
        more: with one of the second.
    """

    def __init__(self, graph: Graph, few: fx.GraphModule, more: fx.GraphModule, batches: tuple[int, int]) -> None:
        self.graph, self.few, self.more, self.batches = graph, few, more, batches
        self.values: dict[fx.Node, Any] = {}
        self._batch: str | None = None

    def run(self, inputs: Sequence[str]) -> list[str]:
        """Add all nodes: names of the results."""
        names = iter(inputs)
        for node, other in zip(self.few.graph.nodes, self.more.graph.nodes, strict=True):
            if node.op == "placeholder":
                self.values[node] = next(names)
                self._find_batch(node, other)
            elif node.op == "get_attr":
                self.values[node] = getattr(self.few, str(node.target)).detach()
            elif node.op == "call_function":
                arguments, options = self._arguments(node.args, other.args), self._arguments(node.kwargs, other.kwargs)
                self.values[node] = self._call(node, arguments, options)
            else:
                return [self.name(self.values[each]) for each in node.args[0]]
        raise AssertionError("a traced graph ends with its output")

    def name(self, value: Any, dtype: torch.dtype | None = None) -> str:
        """A value's name in the graph; numbers and tensors become constants."""
        if isinstance(value, str):
            return value
        tensor = torch.as_tensor(value, dtype=dtype)
        return self.graph.constant(tensor.detach().cpu().numpy())

    def read(self, node: fx.Node, place: int, dtype: torch.dtype) -> str:
        """Name of an argument that may be a number or of another type."""
        argument = node.args[place]
        if not isinstance(argument, fx.Node):
            return self.name(argument, dtype)
        value = self.values[argument]
        if not isinstance(value, str):
            return self.name(value, dtype)
        return value if dtype_of(argument) == dtype else self.cast(value, dtype)

    def cast(self, name: str, dtype: torch.dtype) -> str:
        """The same values as another type."""
        return self.graph.add("Cast", name, to=_TYPES[dtype])

    def shape(self, sizes: Sequence[Any]) -> str:
        """A shape; the batch's size is whatever the input has."""
        if all(isinstance(size, int) for size in sizes):
            return self.graph.constant(list(sizes), np.int64)
        if self._batch is None:
            raise ModelError("a traced function asks for the size of a batch that none of its inputs has.")
        parts = [self._batch if size == _BATCH else self.graph.constant([size], np.int64) for size in sizes]
        return self.graph.add("Concat", *parts, axis=0)

    def _find_batch(self, node: fx.Node, other: fx.Node) -> None:
        if self._batch is not None:
            return
        for axis, (few, more) in enumerate(zip(shape_of(node), shape_of(other), strict=True)):
            if (few, more) == self.batches:
                self._batch = self.graph.add("Shape", self.values[node], start=axis, end=axis + 1)
                return

    def _arguments(self, few: Any, more: Any) -> Any:
        """Arguments with values for nodes, and `_BATCH` where the two traces differ."""
        if isinstance(few, fx.Node):
            return self.values[few]
        if isinstance(few, (list, tuple)):
            return [self._arguments(*pair) for pair in zip(few, more, strict=True)]
        if isinstance(few, dict):
            return {key: self._arguments(value, more[key]) for key, value in few.items()}
        return few if few == more else _BATCH

    def _call(self, node: fx.Node, arguments: list[Any], options: dict[str, Any]) -> Any:
        if node.target is operator.getitem:
            return arguments[0][arguments[1]]
        if not _holds_name([arguments, options]):  # the same for every input: computed here and now
            found = node.target(*arguments, **options)  # type: ignore[operator]  # a call_function's target is callable
            return list(found) if isinstance(found, (list, tuple)) else found
        return OPERATIONS[node.target](self, node, *arguments, **options)


def dtype_of(node: fx.Node) -> torch.dtype:
    """Type of a traced tensor."""
    found: torch.dtype = node.meta["val"].dtype
    return found


def shape_of(node: fx.Node) -> Sequence[int]:
    """Shape of a traced tensor."""
    return tuple(node.meta["val"].shape)


def _holds_name(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_name(each) for each in value)
    if isinstance(value, dict):
        return any(_holds_name(each) for each in value.values())
    return isinstance(value, str)


def _same(_context: Context, _node: fx.Node, value: Any, *_rest: Any, **_options: Any) -> Any:
    return value


def _unary(name: str) -> Operation:
    def operation(context: Context, _node: fx.Node, value: Any) -> str:
        return context.graph.add(name, context.name(value))

    return operation


def _binary(name: str, *, swapped: bool = False) -> Operation:
    def operation(context: Context, node: fx.Node, _left: Any, _right: Any, *, alpha: float = 1) -> str:
        dtype = dtype_of(node)
        left, right = context.read(node, 0, dtype), context.read(node, 1, dtype)
        if alpha != 1:
            right = context.graph.add("Mul", right, context.name(alpha, dtype))
        return context.graph.add(name, *((right, left) if swapped else (left, right)))

    return operation


def _comparison(name: str) -> Operation:
    def operation(context: Context, node: fx.Node, _left: Any, _right: Any) -> str:
        dtype = dtype_of(node.args[0])  # type: ignore[arg-type]  # of a comparison the left is a tensor
        return context.graph.add(name, context.read(node, 0, dtype), context.read(node, 1, dtype))

    return operation


def _linear(context: Context, node: fx.Node, x: Any, weight: Any, bias: Any = None) -> str:
    if len(shape_of(node)) == 2:  # noqa: PLR2004 - Gemm's rank
        inputs = [each for each in (x, weight, bias) if each is not None]
        return context.graph.add("Gemm", *map(context.name, inputs), transB=1)
    turned = weight.T if isinstance(weight, Tensor) else context.graph.add("Transpose", weight, perm=[1, 0])
    product = context.graph.add("MatMul", context.name(x), context.name(turned))
    return product if bias is None else context.graph.add("Add", product, context.name(bias))


def _addmm(
    context: Context, _node: fx.Node, bias: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1
) -> str:
    names = map(context.name, (left, right, bias))
    return context.graph.add("Gemm", *names, alpha=float(alpha), beta=float(beta))


def _transpose(context: Context, node: fx.Node, value: Any, one: int = 0, other: int = 1) -> str:
    order = list(range(len(shape_of(node))))
    order[one], order[other] = order[other], order[one]
    return context.graph.add("Transpose", context.name(value), perm=order)


def _lerp(context: Context, _node: fx.Node, start: Any, end: Any, weight: Any) -> str:
    span = context.graph.add("Sub", context.name(end), context.name(start))
    return context.graph.add("Add", context.name(start), context.graph.add("Mul", context.name(weight), span))


def _addcmul(context: Context, node: fx.Node, start: Any, left: Any, right: Any, *, value: float = 1) -> str:
    product = context.graph.add("Mul", context.name(left), context.name(right))
    if value != 1:
        product = context.graph.add("Mul", product, context.name(value, dtype_of(node)))
    return context.graph.add("Add", context.name(start), product)


def _pieces(context: Context, node: fx.Node, value: Any, _sizes: Any, dim: int = 0) -> list[str]:
    axis = dim % len(shape_of(node.args[0]))  # type: ignore[arg-type]  # a tensor
    lengths = [piece.shape[axis] for piece in node.meta["val"]]
    split = context.graph.constant(lengths, np.int64)
    return context.graph.add_many("Split", [context.name(value), split], len(lengths), axis=axis)


def _unbind(context: Context, node: fx.Node, value: Any, dim: int = 0) -> list[str]:
    axes = context.graph.constant([dim], np.int64)
    pieces = _pieces_of_one(context, node, value, dim)
    return [context.graph.add("Squeeze", piece, axes) for piece in pieces]


def _pieces_of_one(context: Context, node: fx.Node, value: Any, dim: int) -> list[str]:
    count = len(node.meta["val"])
    return context.graph.add_many(
        "Split", [context.name(value), context.graph.constant([1] * count, np.int64)], count, axis=dim
    )


def _select(context: Context, _node: fx.Node, value: Any, dim: int, index: int) -> str:
    return context.graph.add("Gather", context.name(value), context.graph.constant(index, np.int64), axis=dim)


def _slice(
    context: Context, _node: fx.Node, value: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> str:
    last = np.iinfo(np.int64).max
    bounds = ([start or 0], [last if end is None or end == _BATCH else end], [dim], [step])
    return context.graph.add("Slice", context.name(value), *(context.graph.constant(each, np.int64) for each in bounds))


def _unsqueeze(context: Context, _node: fx.Node, value: Any, dim: int) -> str:
    return context.graph.add("Unsqueeze", context.name(value), context.graph.constant([dim], np.int64))


def _squeeze(context: Context, _node: fx.Node, value: Any, dim: int) -> str:
    return context.graph.add("Squeeze", context.name(value), context.graph.constant([dim], np.int64))


def _cat(context: Context, _node: fx.Node, values: Sequence[Any], dim: int = 0) -> str:
    return context.graph.add("Concat", *map(context.name, values), axis=dim)


def _stack(context: Context, node: fx.Node, values: Sequence[Any], dim: int = 0) -> str:
    return _cat(context, node, [_unsqueeze(context, node, value, dim) for value in values], dim)


def _reshape(context: Context, _node: fx.Node, value: Any, sizes: Sequence[Any]) -> str:
    return context.graph.add("Reshape", context.name(value), context.shape(sizes))


def _expand(context: Context, _node: fx.Node, value: Any, sizes: Sequence[Any]) -> str:
    # ONNX keeps a size where 1 is asked for, torch where −1 is.
    return context.graph.add(
        "Expand", context.name(value), context.shape([1 if size == -1 else size for size in sizes])
    )


def _sum(context: Context, node: fx.Node, _value: Any, dims: Any, keepdim: bool = False, **_options: Any) -> str:  # noqa: FBT001, FBT002 - torch's signature
    return context.graph.add(
        "ReduceSum",
        context.read(node, 0, dtype_of(node)),
        context.graph.constant(dims, np.int64),
        keepdims=int(keepdim),
    )


def _softmax(context: Context, _node: fx.Node, value: Any, dim: int, *_rest: Any) -> str:
    return context.graph.add("Softmax", context.name(value), axis=dim)


def _cumsum(context: Context, _node: fx.Node, value: Any, dim: int, **_options: Any) -> str:
    return context.graph.add("CumSum", context.name(value), context.graph.constant(dim, np.int64))


def _clamp(context: Context, node: fx.Node, value: Any, least: Any = None, most: Any = None) -> str:
    name, dtype = context.name(value), dtype_of(node)
    for bound, operation in ((least, "Max"), (most, "Min")):
        if bound is not None:
            name = context.graph.add(operation, name, context.name(bound, dtype))
    return name


def _gather(context: Context, _node: fx.Node, value: Any, dim: int, index: Any, **_options: Any) -> str:
    return context.graph.add("GatherElements", context.name(value), context.name(index), axis=dim)


def _pad(
    context: Context, node: fx.Node, value: Any, pads: Sequence[int], _mode: str = "constant", fill: Any = None
) -> str:
    rank = len(shape_of(node))
    before, after = [0] * rank, [0] * rank
    for place in range(len(pads) // 2):
        before[rank - 1 - place], after[rank - 1 - place] = pads[2 * place], pads[2 * place + 1]
    filling = context.name(fill or 0, dtype_of(node))
    return context.graph.add("Pad", context.name(value), context.graph.constant(before + after, np.int64), filling)


def _softplus(context: Context, _node: fx.Node, value: Any) -> str:
    return context.graph.add("Softplus", context.name(value))


def _log_sigmoid(context: Context, _node: fx.Node, value: Any) -> str:
    return context.graph.add("Neg", context.graph.add("Softplus", context.graph.add("Neg", context.name(value))))


def _layer_norm(
    context: Context,
    node: fx.Node,
    value: Any,
    shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *_rest: Any,
) -> str:
    scale = torch.ones(list(shape), dtype=dtype_of(node)) if weight is None else weight
    names = [context.name(each) for each in (value, scale, bias) if each is not None]
    return context.graph.add("LayerNormalization", *names, axis=-len(shape), epsilon=eps)


def _to(context: Context, node: fx.Node, value: Any, *_rest: Any, **_options: Any) -> str:
    source: fx.Node = node.args[0]  # type: ignore[assignment]  # a tensor
    return str(value) if dtype_of(source) == dtype_of(node) else context.cast(value, dtype_of(node))


def _where(context: Context, node: fx.Node, condition: Any, _yes: Any, _no: Any) -> str:
    dtype = dtype_of(node)
    return context.graph.add(
        "Where", context.name(condition), context.read(node, 1, dtype), context.read(node, 2, dtype)
    )


_TYPES = {torch.float32: 1, torch.int64: 7, torch.bool: 9, torch.float64: 11}
"""Numbers of onnx.TensorProto, which isn't imported for them."""

OPERATIONS: dict[Any, Operation] = {
    operator.getitem: _same,  # `Context` looks them up itself
    **dict.fromkeys(
        (aten.detach.default, aten.alias.default, aten.lift_fresh_copy.default, aten.lift_fresh.default), _same
    ),
    **dict.fromkeys((aten.detach_.default, aten.clone.default, aten.contiguous.default), _same),
    aten.linear.default: _linear,
    aten.addmm.default: _addmm,
    aten.mm.default: _binary("MatMul"),
    aten.matmul.default: _binary("MatMul"),
    aten.t.default: _transpose,
    aten.transpose.int: _transpose,
    **{
        getattr(aten, name).default: _unary(name.capitalize())
        for name in ("sigmoid", "tanh", "relu", "exp", "log", "abs")
    },
    **{
        getattr(aten, name).default: _unary(name.capitalize())
        for name in ("neg", "sqrt", "reciprocal", "cos", "sin", "erf")
    },
    aten.softplus.default: _softplus,
    aten.layer_norm.default: _layer_norm,
    aten.log_sigmoid.default: _log_sigmoid,
    aten.silu.default: lambda context, _node, x: context.graph.add("Mul", x, context.graph.add("Sigmoid", x)),
    **dict.fromkeys((aten.add.Tensor, aten.add.Scalar), _binary("Add")),
    **dict.fromkeys((aten.sub.Tensor, aten.sub.Scalar), _binary("Sub")),
    **dict.fromkeys((aten.rsub.Tensor, aten.rsub.Scalar), _binary("Sub", swapped=True)),
    **dict.fromkeys((aten.mul.Tensor, aten.mul.Scalar), _binary("Mul")),
    **dict.fromkeys((aten.div.Tensor, aten.div.Scalar), _binary("Div")),
    **dict.fromkeys((aten.pow.Tensor_Tensor, aten.pow.Tensor_Scalar), _binary("Pow")),
    aten.square.default: lambda context, _node, x: context.graph.add("Mul", x, x),
    aten.maximum.default: _binary("Max"),
    aten.minimum.default: _binary("Min"),
    **dict.fromkeys((aten.eq.Scalar, aten.eq.Tensor), _comparison("Equal")),
    **dict.fromkeys((aten.lt.Scalar, aten.lt.Tensor), _comparison("Less")),
    **dict.fromkeys((aten.le.Scalar, aten.le.Tensor), _comparison("LessOrEqual")),
    **dict.fromkeys((aten.gt.Scalar, aten.gt.Tensor), _comparison("Greater")),
    **dict.fromkeys((aten.ge.Scalar, aten.ge.Tensor), _comparison("GreaterOrEqual")),
    **dict.fromkeys((aten.lerp.Tensor, aten.lerp.Scalar), _lerp),
    aten.addcmul.default: _addcmul,
    **dict.fromkeys((aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default), _pieces),
    aten.unbind.int: _unbind,
    aten.select.int: _select,
    aten.slice.Tensor: _slice,
    aten.unsqueeze.default: _unsqueeze,
    aten.squeeze.dim: _squeeze,
    aten.cat.default: _cat,
    aten.stack.default: _stack,
    **dict.fromkeys((aten.view.default, aten.reshape.default, aten._unsafe_view.default), _reshape),  # noqa: SLF001 - its name
    aten.expand.default: _expand,
    aten.sum.dim_IntList: _sum,
    aten.softmax.int: _softmax,
    aten.cumsum.default: _cumsum,
    aten.clamp.default: _clamp,
    aten.gather.default: _gather,
    aten.pad.default: _pad,
    aten.constant_pad_nd.default: lambda context, node, x, pads, fill=0: _pad(context, node, x, pads, "constant", fill),
    aten.where.self: _where,
    **dict.fromkeys((aten.to.dtype, aten.to.dtype_layout, aten._to_copy.default), _to),  # noqa: SLF001 - its name
}
