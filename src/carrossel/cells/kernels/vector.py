"""A vector of float32 lanes inside numba: arithmetic, loads and stores, and the gates' functions on it.

LLVM lowers the type to whatever the machine has, so one source serves AVX-512, AVX2, NEON and plain scalars. Memory is
addressed by integers (bytes), as the kernels walk through buffers laid out by hand.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import datamodel
from numba.extending import lower_builtin, register_model, type_callable

from carrossel.cells.kernels import functions
from carrossel.cells.kernels.extending import intrinsic, literal_intrinsic, overload
from carrossel.cells.kernels.machine import LANES

FLOAT = ir.FloatType()
LLVM_VECTOR = ir.VectorType(FLOAT, LANES)
ALIGNMENT = 4  # bytes; rows of any width begin anywhere, and unaligned loads cost nothing on aligned addresses


class VectorType(types.Type):
    """`LANES` numbers of 32 bits in one register."""

    def __init__(self) -> None:
        super().__init__(name=f"Vector{LANES}")


vector: Any = VectorType()


@register_model(VectorType)
class _VectorModel(datamodel.models.PrimitiveModel):
    def __init__(self, manager: Any, frontend: Any) -> None:
        super().__init__(manager, frontend, LLVM_VECTOR)  # type: ignore[no-untyped-call]  # numba has no annotations


def splat(builder: Any, number: Any) -> Any:
    """The same float32 in all lanes."""
    empty = ir.Constant(LLVM_VECTOR, ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _as_vector(builder: Any, value: Any, kind: Any) -> Any:
    if kind == vector:
        return value
    if isinstance(kind, types.Integer):
        return splat(builder, builder.sitofp(value, FLOAT))
    return splat(builder, value if value.type == FLOAT else builder.fptrunc(value, FLOAT))


def _define(operation: Any, instruction: str) -> None:
    @type_callable(operation)
    def infer(_context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            operands = (a, b)
            if vector in operands and all(each == vector or isinstance(each, types.Number) for each in operands):
                return vector
            return None

        return typer

    def lower(_context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = (_as_vector(builder, *pair) for pair in zip(arguments, signature.args, strict=True))
        return getattr(builder, instruction)(a, b, flags=("contract",))  # a·b + c may become one rounding

    for operands in ((vector, vector), (vector, types.Number), (types.Number, vector)):
        lower_builtin(operation, *operands)(lower)


for _operation, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define(_operation, _instruction)


def _pointer(builder: Any, address: Any, to: Any) -> Any:
    return builder.inttoptr(address, to.as_pointer())


@intrinsic
def load(_typing: Any, _address: Any) -> Any:
    """The vector at an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(builder, arguments[0], LLVM_VECTOR), align=ALIGNMENT)

    return vector(types.intp), generate


@intrinsic
def store(_typing: Any, _address: Any, value: Any) -> Any:
    """Write a vector to an address; None, which gate maths give for 'no contribution', writes zeros."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        content = ir.Constant(LLVM_VECTOR, [0.0] * LANES) if value == types.none else arguments[1]
        builder.store(content, _pointer(builder, arguments[0], LLVM_VECTOR), align=ALIGNMENT)
        return context.get_dummy_value()

    return types.void(types.intp, value), generate


@intrinsic
def load_number(_typing: Any, _address: Any) -> Any:
    """The float32 at an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(builder, arguments[0], FLOAT))

    return types.float32(types.intp), generate


@intrinsic
def store_number(_typing: Any, _address: Any, _number: Any) -> Any:
    """Write one float32."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], _pointer(builder, arguments[0], FLOAT))
        return context.get_dummy_value()

    return types.void(types.intp, types.float32), generate


@literal_intrinsic
def load_blocks(_typing: Any, _address: Any, _stride: Any, count: Any) -> Any:
    """A tuple of `count` vectors (a compile-time number), `stride` bytes apart."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    number = count.literal_value
    kind = types.UniTuple(vector, number) if number else types.Tuple(())

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, stride, _ = arguments
        vectors = []
        for _index in range(number):
            vectors.append(builder.load(_pointer(builder, address, LLVM_VECTOR), align=ALIGNMENT))
            address = builder.add(address, stride)
        return context.make_tuple(builder, signature.return_type, vectors)

    return kind(types.intp, types.intp, count), generate


@intrinsic
def store_blocks(_typing: Any, _address: Any, _stride: Any, vectors: Any) -> Any:
    """Write a tuple of vectors, `stride` bytes apart."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, stride, values = arguments
        for index in range(vectors.count):
            content = builder.extract_value(values, index)
            builder.store(content, _pointer(builder, address, LLVM_VECTOR), align=ALIGNMENT)
            address = builder.add(address, stride)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, vectors), generate


@intrinsic
def add_blocks(_typing: Any, _address: Any, _stride: Any, vectors: Any) -> Any:
    """Add a tuple of vectors to what is in memory, `stride` bytes apart."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, stride, values = arguments
        for index in range(vectors.count):
            pointer = _pointer(builder, address, LLVM_VECTOR)
            total = builder.fadd(builder.load(pointer, align=ALIGNMENT), builder.extract_value(values, index))
            builder.store(total, pointer, align=ALIGNMENT)
            address = builder.add(address, stride)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, vectors), generate


@intrinsic
def clamp(_typing: Any, _value: Any, _limit: Any) -> Any:
    """Each lane cut to ±limit; NaN becomes −limit or limit, and is kept by `_tanh`."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        value, limit = arguments
        upper = splat(builder, builder.fptrunc(limit, FLOAT))
        lower = builder.fsub(ir.Constant(LLVM_VECTOR, [0.0] * LANES), upper)
        # "unordered" lets a NaN lane through: it has to reach the loss, not turn into a saturated gate
        value = builder.select(builder.fcmp_unordered("<", value, upper), value, upper)
        return builder.select(builder.fcmp_unordered(">", value, lower), value, lower)

    return vector(vector, types.float64), generate


@intrinsic
def select_positive(_typing: Any, _a: Any, _b: Any) -> Any:
    """Lanes of b where a > 0 or NaN, else 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        zeros = ir.Constant(LLVM_VECTOR, [0.0] * LANES)
        positive = builder.fcmp_unordered(">", arguments[0], zeros)  # "unordered" for NaN, as in `clamp`
        return builder.select(positive, arguments[1], zeros)

    return vector(vector, vector), generate


INLINE = {"forceinline": True, "fastmath": {"contract"}, "error_model": "numpy"}


@overload(functions.tanh, jit_options=INLINE)
def _tanh(a: Any) -> Any:
    """Rational approximation of degree 13/6 on ±7.9, where float32's tanh is 1 (the one of Eigen); error 3e-7."""
    if a != vector:
        return None

    def implementation(a: Any) -> Any:
        x = clamp(a, 7.90531110763549805)
        y = x * x
        y2 = y * y
        y4 = y2 * y2
        # pairs of terms at once (Estrin): the chain of dependent operations is what takes the time
        low = (y * 6.37261928875436e-04 + 4.89352455891786e-03) + (y * 5.12229709037114e-08 + 1.48572235717979e-05) * y2
        high = (y * 2.00018790482477e-13 + -8.60467152213735e-11) + y2 * -2.76076847742355e-16
        p = high * y4 + low
        q = (y * 2.26843463243900e-03 + 4.89352518554385e-03) + (y * 1.19825839466702e-06 + 1.18534705686654e-04) * y2
        return x * p / q

    return implementation


@overload(functions.sigmoid, jit_options=INLINE)
def _sigmoid(a: Any) -> Any:
    if a != vector:
        return None

    def implementation(a: Any) -> Any:
        return functions.tanh(a * 0.5) * 0.5 + 0.5

    return implementation


@overload(functions.relu, jit_options=INLINE)
def _relu(a: Any) -> Any:
    if a != vector:
        return None

    def implementation(a: Any) -> Any:
        return select_positive(a, a)

    return implementation


@overload(functions.where_positive, jit_options=INLINE)
def _where_positive(a: Any, b: Any) -> Any:
    if a != vector or b != vector:
        return None

    def implementation(a: Any, b: Any) -> Any:
        return select_positive(a, b)

    return implementation
