from __future__ import annotations

import pytest
import torch

from carrossel.cells import registry


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(name="normal")
def _normal():
    """Standard normal float64 numbers of a shape, the same in every run."""
    return normal


@pytest.fixture
def generic_cell():
    """A float64 cell without a zero among its weights, which fresh peepholes and biases are."""

    def make(kind, input_size=2, hidden_size=4, seed=0, **config):
        cls = registry.load(kind)
        cell = cls(input_size, cls.Config(hidden_size=hidden_size, **config)).double()
        for n, parameter in enumerate(cell.parameters()):
            parameter.data.copy_(0.6 * normal(*parameter.shape, seed=10 * seed + n))
        return cell

    return make


@pytest.fixture
def linear_cell(generic_cell):
    """h_t = W h_{t−1} + w_x x_t of one feature: its gradients are powers of W."""

    def make(weight_h):
        cell = generic_cell("rnn", 1, len(weight_h), activation="identity")
        cell.weight_h.data.copy_(weight_h)
        return cell

    return make
