"""Numbers about gradients and weights, by themselves: no plots, no files, no training loop.

Norms are averaged, never gradients: gradients of different sequences cancel in a mean, their norms don't.
Everything is computed in float64 on the CPU, because the square of 1e-25 is zero in float32 while 1e-25 itself isn't,
and not every accelerator has float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from carrossel.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from numpy.typing import NDArray


class StateLike(Protocol):
    """What a cell carries from step to step: its hidden state, and its memory C if it has one."""

    @property
    def h(self) -> Float[Tensor, "batch hidden"]: ...

    @property
    def c(self) -> Float[Tensor, "batch memory"] | None: ...


class LagGradients(NamedTuple):
    """D1 of one layer.

    Attributes:
        h: g_k for lag k = 0 … time − 1, the mean over the batch of ‖∂L/∂h_{T−k}‖₂.
        c: the same of ∂L/∂C; None for cells without C. Where a cell keeps several things in C, of the first: the memory
            itself, which D8 is about.
    """

    h: NDArray[np.float64]
    c: NDArray[np.float64] | None


class GateSpectrum(NamedTuple):
    """D5 of one gate's [hidden, hidden] block of the recurrent weights.

    Attributes:
        gate: the block's name.
        spectral_radius: largest absolute eigenvalue: what repeated steps tend to scale by.
        largest_singular_value: the most that one step can scale by.
    """

    gate: str
    spectral_radius: float
    largest_singular_value: float


def gradient_by_lag(loss: Float[Tensor, "*any"], states: Sequence[Sequence[StateLike]]) -> list[LagGradients]:
    """D1: how much of the loss's gradient reaches each step back in time, layer by layer.

    The gradients are total ones: through every later step and every layer above. They are asked for directly, so
    neither `.grad` of the parameters nor a hook is left behind; the graph is freed.

    Args:
        loss: L of a fixed probe batch, computed from the last state. Of a loss with several elements the sum is meant:
            one loss per sequence, not their mean, makes g_k independent of the batch's size (a mean divides by it).
        states: for each layer, lowest first, the states after each step that `loss` was computed from. A fused layer's
            outputs won't do: they lie beside the path, and all but the last get a gradient of zero.

    Returns:
        One entry per layer. A state that L doesn't depend on has gradient 0.

    Raises:
        TrainingError: if a gradient isn't finite, naming layer and lag.
    """
    nodes = [part for layer in states for state in layer for part in (state.h, state.c) if part is not None]
    gradients = torch.autograd.grad(loss.sum(), nodes, allow_unused=True)
    by_node = {id(node): gradient for node, gradient in zip(nodes, gradients, strict=True)}
    found = []
    for number, layer in enumerate(states):
        units = layer[0].h.shape[-1]
        h = _mean_norms([by_node[id(state.h)] for state in reversed(layer)], units)
        memories = [by_node[id(state.c)] for state in reversed(layer) if state.c is not None]
        c = _mean_norms(memories, units) if memories else None
        for name, values in (("h", h), ("C", c)):
            if values is not None:
                _refuse_infinite(values, f"∂L/∂{name} of layer {number}")
        found.append(LagGradients(h, c))
    return found


def sensitivity_by_lag(
    forecast: Float[Tensor, "batch ..."], x: Float[Tensor, "time batch features"]
) -> NDArray[np.float64]:
    """D2: how much the forecast depends on each bar of its window.

    Args:
        forecast: ŷ of each sequence, computed from `x`; with several outputs (horizons, quantiles) ∂ŷ/∂x is a matrix and
            its Frobenius norm is meant, for one backward pass each. The graph is kept.
        x: the windows, with `requires_grad`. Whatever ran the cells on them will do, fused or not.

    Returns:
        For lag k = 0 … time − 1 the mean over the batch of ‖∂ŷ/∂x_{T−k}‖₂; 0 where ŷ doesn't depend on x.

    Raises:
        ValueError: if `x` doesn't require a gradient.
        TrainingError: if a gradient isn't finite, naming the lag.
    """
    if not x.requires_grad:
        raise ValueError("x doesn't require a gradient; compute the forecast from x.requires_grad_().")
    norms = np.zeros(x.shape[:2])
    for output in forecast.flatten(1).unbind(1) if forecast.ndim > 1 else [forecast]:
        (gradient,) = torch.autograd.grad(output.sum(), x, retain_graph=True, allow_unused=True)
        if gradient is not None:
            norms = np.hypot(norms, torch.linalg.vector_norm(gradient.to("cpu", torch.float64), dim=-1).numpy())
    found: NDArray[np.float64] = norms.mean(axis=1)[::-1]
    _refuse_infinite(found, "∂ŷ/∂x")
    return found


def spectrum(blocks: Mapping[str, Float[Tensor, "hidden hidden"]]) -> list[GateSpectrum]:
    """D5: spectral radius and largest singular value of each gate's block of W_hh.

    Args:
        blocks: recurrent weights by the gate's name; none for a cell whose gates don't see h.

    Raises:
        ValueError: if a block isn't square.
    """
    for name, block in blocks.items():
        if block.ndim != 2 or block.shape[0] != block.shape[1]:  # noqa: PLR2004  # a matrix
            raise ValueError(f"the recurrent block {name!r} is {list(block.shape)}; expected [hidden, hidden].")
    if not blocks:
        return []
    stacked = torch.stack([block.detach().to("cpu", torch.float64) for block in blocks.values()])
    radius = torch.linalg.eigvals(stacked).abs().amax(dim=-1).tolist()
    largest = torch.linalg.matrix_norm(stacked, ord=2).tolist()
    return [GateSpectrum(*values) for values in zip(blocks, radius, largest, strict=True)]


def gradient_norms(module: nn.Module) -> dict[str, float]:
    """D7: ‖∂L/∂θ‖₂ of each parameter tensor, to be called after `backward` and before clipping.

    A tensor without gradient has norm 0.
    """
    return {name: 0.0 if p.grad is None else _norm(p.grad) for name, p in module.named_parameters()}


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of each parameter tensor, to be compared after an update by `update_ratios`."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def update_ratios(before: Mapping[str, Tensor], module: nn.Module) -> dict[str, float]:
    """D7: ‖Δθ‖₂ / ‖θ‖₂ of each parameter tensor, θ as it was before.

    A tensor that was all zeros (a fresh bias) is divided by its norm after the update instead, which gives 1, or 0 if
    it didn't move: never infinity or NaN.

    Args:
        before: from `snapshot`.
        module: the same module after the update.
    """
    ratios = {}
    for name, after in module.named_parameters():
        moved, size = _norm(after.detach() - before[name]), _norm(before[name])
        ratios[name] = moved / (size or moved or 1.0)
    return ratios


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.to("cpu", torch.float64)))


def _mean_norms(gradients: Sequence[Tensor | None], units: int) -> NDArray[np.float64]:
    """Of the first numbers of each gradient, [batch, …]; all at once, since there are as many as steps. None is zero."""
    norms = np.zeros(len(gradients))
    known = [gradient for gradient in gradients if gradient is not None]
    if known:
        stacked = torch.stack(known)[..., :units].to("cpu", torch.float64)
        places = [place for place, gradient in enumerate(gradients) if gradient is not None]
        norms[places] = torch.linalg.vector_norm(stacked, dim=-1).mean(dim=-1).numpy()
    return norms


def _refuse_infinite(values: NDArray[np.float64], what: str) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        raise TrainingError(
            f"{what} isn't finite at lag {int(np.argmin(finite))}: the gradient exploded. "
            "Lower training.learning_rate or training.clip_norm and train again."
        )
