"""D3 and D4: how a cell's step stretches and shrinks small disturbances of its state.

J_t = ∂s_t/∂s_{t−1} with s = [h, C], or s = h for cells without C. Error travels back from s_T to s_{T−k} through the
product J_T … J_{T−k+1}, and a small change of s_{T−k} travels forward through the same product.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.func import jacfwd, jvp, vmap

from carrossel.diagnostics.trajectory import CellState, flatten, line_up, unflatten
from carrossel.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from jaxtyping import Float
    from numpy.typing import NDArray

    from carrossel.diagnostics.trajectory import CellLike

S = TypeVar("S", bound=CellState)
_AT_ONCE = 512  # steps differentiated side by side: at 64 numbers of state about 100 MB of float64


class JacobianNorms(NamedTuple):
    """D3, averaged over the sequences.

    Attributes:
        step: σ_max(J_t) for t = 1 … time: the most that one step can stretch a disturbance.
        product: ‖J_T … J_{T−k+1}‖₂ for lag k = 0 … time: the most that k steps together can; 1 at lag 0.
    """

    step: NDArray[np.float64]
    product: NDArray[np.float64]


@torch.no_grad()
def step_jacobians(
    cell: CellLike[S], x: Float[Tensor, "time batch input_size"], states: Sequence[S]
) -> Float[Tensor, "time batch size size"]:
    """D3: the Jacobian of every step of every sequence, exactly, by forward differentiation of the cell's own step.

    Args:
        cell: one layer. Its dtype is the Jacobians': give `.double()` of a copy for sixteen digits.
        x: the layer's inputs; a few sequences are enough, such as 8.
        states: its states after each step, from a zero state.

    Returns:
        J_t at [t − 1], as float64 on the CPU. With C, rows and columns go h first, then C.

    Raises:
        ValueError: if there isn't one state per step.
        TrainingError: if a Jacobian isn't finite, naming the step.
    """
    _load_forward_mode()
    steps = line_up(cell, x, states)
    one = steps.before

    def step(s: Tensor, projected: Tensor) -> Tensor:
        return flatten(cell.advance(projected[None], unflatten(s[None], one)))[0]

    found = vmap(jacfwd(step), chunk_size=_AT_ONCE)(flatten(one), steps.projected)
    jacobians: Tensor = found.to("cpu", torch.float64).unflatten(0, (len(x), x.shape[1]))
    finite = jacobians.isfinite().flatten(1).all(dim=1)
    if not finite.all():
        raise TrainingError(
            f"∂s_t/∂s_(t−1) isn't finite at step {int(finite.int().argmin()) + 1}: the state or a weight exploded. "
            "Lower training.learning_rate or training.clip_norm and train again."
        )
    return jacobians


def jacobian_norms(jacobians: Float[Tensor, "time batch size size"]) -> JacobianNorms:
    """D3: what each step, and the last k steps together, can stretch a disturbance by.

    Args:
        jacobians: from `step_jacobians`.
    """
    step = torch.linalg.matrix_norm(jacobians, ord=2).mean(dim=1)
    product = torch.eye(jacobians.shape[-1], dtype=jacobians.dtype).expand_as(jacobians[0])
    products = [product]
    for jacobian in jacobians.flip(0):
        product = product @ jacobian
        products.append(product)
    return JacobianNorms(step.numpy(), torch.linalg.matrix_norm(torch.stack(products), ord=2).mean(dim=1).numpy())


@torch.no_grad()
def lyapunov_exponents(
    cell: CellLike[S],
    x: Float[Tensor, "time batch input_size"],
    states: Sequence[S],
    count: int = 4,
    settle: int = 0,
    generator: torch.Generator | None = None,
) -> NDArray[np.float64]:
    """D4: the mean logarithmic growth per step along the `count` directions that grow most, largest first.

    Orthonormal directions are carried through J_1 … J_T and made orthonormal again at each step by QR; an exponent is
    the mean of ln |R_ii|. Only J_t times the directions is computed, never a whole J_t. Over a finite sequence these are
    finite-time exponents: they tend to the asymptotic ones as it grows longer.

    Args:
        cell: one layer. Its dtype is the products'.
        x: the layer's inputs.
        states: its states after each step, from a zero state.
        count: number of exponents; no more than numbers in the state are given.
        settle: first steps that only turn the directions towards those that grow most and aren't counted.
        generator: of the first directions; None takes the same ones every time.

    Returns:
        Exponents per step in natural logarithms, mean over the sequences: 0 keeps a disturbance, below 0 it dies out
        with half-life ln 2 / −λ, above 0 it grows. −inf for a direction that a step erases.

    Raises:
        ValueError: if there isn't one state per step, `count` < 1, or no step is left after `settle`.

    References:
        Benettin et al. (1980), Lyapunov characteristic exponents, Meccanica 15; for recurrent networks Vogt et al.
        (2022), On Lyapunov exponents for RNNs, arXiv:2006.14123.
    """
    if count < 1 or not 0 <= settle < len(x):
        raise ValueError(f"count={count}, settle={settle} with {len(x)} steps: at least one exponent and one step.")
    _load_forward_mode()
    steps = line_up(cell, x, states)
    size = flatten(steps.before).shape[1]
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    first = torch.randn(size, min(count, size), generator=generator, dtype=torch.float64)
    directions = torch.linalg.qr(first).Q.expand(x.shape[1], -1, -1)
    growth = torch.zeros(x.shape[1], directions.shape[-1], dtype=torch.float64)
    before = flatten(steps.before).unflatten(0, (len(x), x.shape[1]))
    for t, projected in enumerate(steps.projected.unflatten(0, (len(x), x.shape[1]))):
        carried = _carry(cell, projected, unflatten(before[t], steps.before), directions.to(before))
        directions, r = torch.linalg.qr(carried.to("cpu", torch.float64))
        if t >= settle:
            growth += r.diagonal(dim1=-2, dim2=-1).abs().log()
    return (growth.mean(dim=0).sort(descending=True).values / (len(x) - settle)).numpy()


def _carry(
    cell: CellLike[S], projected: Tensor, before: S, directions: Float[Tensor, "batch size count"]
) -> Float[Tensor, "batch size count"]:
    """J_t times each direction: every sequence goes once per direction, all in one batch."""
    count = directions.shape[-1]

    def step(s: Tensor) -> Tensor:
        return flatten(cell.advance(projected.repeat_interleave(count, dim=0), unflatten(s, before)))

    start = flatten(before).repeat_interleave(count, dim=0)
    carried: Tensor = jvp(step, (start,), (directions.mT.flatten(0, 1),))[1].unflatten(0, (-1, count)).mT
    return carried


@cache
def _load_forward_mode() -> None:
    """At its first use torch's forward mode loads formulas that torch itself makes by its deprecated `torch.jit.script`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script", DeprecationWarning)
        jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
