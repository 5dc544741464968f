"""What a cell says about itself for the fast path: its gate maths, and which products feed its gates.

All fast paths compute a step in the same phases, from rows [h | x | 1]:

    1. gates = W · [h_{t−1} | x_t | 1]; the first `looked` gates also get W_c · m_{t−1}.
    2. `forward`: from the gates, h_{t−1} and m_{t−1} to m_t, or to h_t.
    3. Late gates, the last ones: they get W_c · m_t (a peephole on the new memory), or read [m_t | x_t | 1] in place of
       [h_{t−1} | x_t | 1] (a reset before the product).
    4. `finish`, where there is one: from the gates and m_t to h_t.

m is the memory C where a cell has one, and what phase 2 hands to late gates where it hasn't. `backward` and
`finish_backward` are the same phases' derivatives, in reverse order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class GateMaths:
    """A cell's gate equations, on anything with arithmetic: vectors of units or tiles in kernels, tensors in torch.

    They use `+ − * /`, what `carrossel.cells.kernels.functions` has, such as `sigmoid`, and numbers of their file; "nothing"
    is None or ().

    Attributes:
        gates: number of gate blocks in the weights.
        forward: `(gates, (h, m), vectors) -> (gates, (h, m))`, with gates before the function going in and after it
            coming out; new h is None where `finish` gives it, new m where the cell has none.
        backward: `(gates, (h, m) before, (h, m) after, (dh, dm), vectors) -> (dgates, (dh, dm), dvectors)`: derivatives
            by the gates before their functions, without late ones; by h and m before the step, other than through
            products; and by the vectors.
        finish: `(gates, (h, m)) -> (late gates, h)`, with h before the step and m after it; None where `forward` gives h.
            It needs no late gates: two short passes are faster than one with a long chain of dependent operations.
        finish_backward: `(gates, (h, m), (dh, dm)) -> (late dgates, dm)`, for cells with late gates.
        memory: whether there is an m.
        carried: whether m goes on to the next step, as a memory does.
        looked: gates, counted from the first, that see m before the step.
        late: gates, counted from the last, that see m after phase 2.
        late_input: whether late gates read [m | x | 1] in place of [h | x | 1]; else they see m besides.
        vectors: weight vectors per unit that the maths use.
        keeps_gates: whether the derivatives need the gates; without them the backward pass gets what isn't theirs.
    """

    gates: int
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    finish: Callable[..., Any] | None = None
    finish_backward: Callable[..., Any] | None = None
    memory: bool = False
    carried: bool = False
    looked: int = 0
    late: int = 0
    late_input: bool = False
    vectors: int = 0
    keeps_gates: bool = True

    @property
    def direct(self) -> int:
        """Gates, counted from the first, that see [h | x | 1]."""
        return self.gates - self.late if self.late_input else self.gates


@dataclass(frozen=True)
class FastForm:
    """A cell's parameters as its gate maths see them; made by differentiable operations, so gradients pass.

    Attributes:
        maths: the same object for all cells of a kind.
        weight_x: [gates·hidden, input_size].
        weight_h: [gates·hidden, hidden]; late gates' on m if `late_input`.
        bias: [gates·hidden], or None.
        weight_m: what gates see of m besides, [(looked + late)·hidden, hidden], or None.
        vectors: [vectors, hidden], or None.
    """

    maths: GateMaths
    weight_x: Float[Tensor, "rows input_size"]
    weight_h: Float[Tensor, "rows hidden"]
    bias: Float[Tensor, " rows"] | None
    weight_m: Float[Tensor, "seen hidden"] | None = None
    vectors: Float[Tensor, "vectors hidden"] | None = None
