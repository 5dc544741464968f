"""A cell's parameters through a layer of torch.nn: the fused path."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from carrossel.cells.base import State

if TYPE_CHECKING:
    from jaxtyping import Float

    from carrossel.cells.base import Cell, FusedForm


class _Layers(threading.local):
    """Each cell's layer, kept because building one costs half a millisecond, a good part of a short training step.

    A layer holds no weights (device `meta`) and isn't a submodule, so the cell's own parameters stay the only ones. One
    per thread, because a call swaps the weights in and out.
    """

    def __init__(self) -> None:
        self.by_cell: WeakKeyDictionary[Cell, nn.RNNBase] = WeakKeyDictionary()


_layers = _Layers()


def run_torch_layer(
    cell: Cell, form: FusedForm, x: Float[Tensor, "time batch input_size"], state: State | None
) -> tuple[Float[Tensor, "time batch hidden"], State]:
    """Same contract as the loop of `carrossel.cells.unrolling.unroll`."""
    layer = _layers.by_cell.get(cell)
    if layer is None:
        has_bias = form.bias_ih is not None
        layer = form.layer(cell.input_size, cell.hidden_size, bias=has_bias, device="meta", **form.options)
        _layers.by_cell[cell] = layer
    state = cell.initial_state(x.shape[1]) if state is None else state
    if state.c is None:
        h, last = functional_call(layer, _weights(form), (x, state.h[None]))
        return h, State(last[0])
    h, (last, memory) = functional_call(layer, _weights(form), (x, (state.h[None], state.c[None])))
    return h, State(last[0], memory[0])


def _weights(form: FusedForm) -> dict[str, Tensor]:
    named = {
        "weight_ih_l0": form.weight_ih,
        "weight_hh_l0": form.weight_hh,
        "bias_ih_l0": form.bias_ih,
        "bias_hh_l0": form.bias_hh,
    }
    weights = {name: tensor for name, tensor in named.items() if tensor is not None}
    if not form.weight_ih.is_cuda:
        return weights
    # cuDNN copies weights at each call, with a warning, unless they lie in one chunk in just this order.
    chunk = torch.cat([tensor.flatten() for tensor in weights.values()])
    pieces = chunk.split_with_sizes([tensor.numel() for tensor in weights.values()])
    return {name: piece.view_as(weights[name]) for name, piece in zip(weights, pieces, strict=True)}
