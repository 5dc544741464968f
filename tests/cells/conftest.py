from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from carrossel.cells import Cell, registry

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def make_cell() -> Callable[..., Cell]:
    """A cell whose every parameter is generic (uniform in ±0.8), so that no term of its equations is zero by chance."""

    def make(kind: str, input_size: int = 3, dtype: torch.dtype = torch.float64, seed: int = 0, **config: Any) -> Cell:
        cls = registry.load(kind)
        cell = cls(input_size, cls.Config(**{"hidden_size": 4, **config})).to(dtype)
        generator = torch.Generator().manual_seed(seed)
        for parameter in cell.parameters():
            drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data.copy_(1.6 * drawn - 0.8)
        return cell

    return make


@pytest.fixture
def draw() -> Callable[..., torch.Tensor]:
    """Standard normal float64 numbers of a shape, the same in every run."""

    def normal(*shape: int, seed: int = 7) -> torch.Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return normal
