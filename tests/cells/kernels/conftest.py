from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from carrossel.cells import State, registry
from carrossel.cells.unrolling import unroll

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carrossel.cells import Cell

GENERATOR_SEED = 5
RECTIFIERS = ("indrnn", "irnn")


class Problem:
    """A cell in float32 and its equal in float64, a sequence, a state, and the gradients of a loss that sees all outputs."""

    def __init__(self, kind: str, batch: int, time: int, features: int, hidden: int, **config: Any) -> None:
        generator = torch.Generator().manual_seed(GENERATOR_SEED)
        cls = registry.load(kind)
        self.single: Cell = cls(features, cls.Config(hidden_size=hidden, **config))
        self.double: Cell = cls(features, cls.Config(hidden_size=hidden, **config)).double()
        for parameter, exact in zip(self.single.parameters(), self.double.parameters(), strict=True):
            drawn = (2 * torch.rand(parameter.shape, generator=generator) - 1) / hidden**0.5
            parameter.data.copy_(drawn)
            exact.data.copy_(drawn)
        if kind in RECTIFIERS:  # half open, half shut: next to the kink float32 and float64 fall on different sides
            for cell in (self.single, self.double):
                assert cell.bias is not None
                cell.bias.data.add_(1 - 2 * (torch.arange(hidden) % 2))
        self.x = torch.randn(time, batch, features, generator=generator)
        h = torch.randn(batch, hidden, generator=generator).tanh()
        c = torch.randn(batch, hidden, generator=generator)
        self.state = State(h, c if self.single.has_memory else None)
        self.weights = (
            torch.randn(time, batch, hidden, generator=generator),
            torch.randn(batch, hidden, generator=generator),
        )

    def run(
        self, backend: str, dtype: torch.dtype = torch.float32, *, given: bool = True, used: str = "hc"
    ) -> dict[str, torch.Tensor]:
        """Outputs and gradients by name.

        Args:
            backend: what runs the cell.
            dtype: of everything.
            given: whether there is a state to begin with.
            used: by the loss: h of all steps, the last memory, or both.
        """
        cell = self.single if dtype == torch.float32 else self.double
        x = self.x.to(dtype).clone().requires_grad_()
        state = State(*(None if part is None else part.to(dtype).clone().requires_grad_() for part in self.state))
        h, last = unroll(cell, x, state if given else None, backend)
        losses = {"h": (h * self.weights[0].to(dtype)).sum()}
        if last.c is not None:
            losses["c"] = (last.c * self.weights[1].to(dtype)).sum()
        loss = sum(losses[each] for each in used if each in losses)
        begun = {"h_0": state.h, "c_0": state.c} if given else {}
        inputs = {"x": x, **begun, **dict(cell.named_parameters())}
        inputs = {name: each for name, each in inputs.items() if each is not None}
        gradients = torch.autograd.grad(loss, list(inputs.values()))
        found = dict(zip(inputs, gradients, strict=True))
        found |= {"h": h.detach(), "last h": last.h.detach()}
        if last.c is not None:
            found["last c"] = last.c.detach()
        return found

    def worst_error(
        self, backend: str, dtype: torch.dtype = torch.float32, reference: str = "loop", **case: Any
    ) -> float:
        """Largest difference from a backend in float64, relative to the largest entry of the tensor it is in."""
        exact, found = self.run(reference, torch.float64, **case), self.run(backend, dtype, **case)
        return max(
            ((found[name].double() - each).abs().max() / each.abs().max().clamp_min(1e-30)).item()
            for name, each in exact.items()
        )


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Torch's own threads wait by spinning, which costs most on a machine that runs tests side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def problem() -> type[Problem]:
    return Problem
