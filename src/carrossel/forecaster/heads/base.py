"""The contract of a head: numbers from the last hidden state, their loss, the point forecast, the quantiles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from carrossel.config import Section, validate
from carrossel.errors import ConfigError
from carrossel.kinds import Registry
from carrossel.targets.base import MOVES
from carrossel.targets.base import registry as targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    from carrossel.targets.base import TargetConfig

registry: Registry[Head] = Registry("carrossel.forecaster.heads", "head")


class HeadConfig(Section):
    """Section `head` of params.yaml; a head with more knobs derives its own."""

    kind: str = Field(
        description="File in src/carrossel/forecaster/heads: point, quantiles, student_t, binned, probability."
    )


class Head(nn.Module, ABC):
    """Linear map from the last hidden state to `outputs` numbers per horizon, and what they mean.

    A subclass in its own file registers itself: `class Point(Head, kind="point")`. What it learns from the training labels
    before training it keeps in buffers, so that it travels with the weights.

    Args:
        config: its section.
        hidden_size: units of the top cell.
        horizons: number of horizons.
    """

    kind: ClassVar[str]
    Config: ClassVar[type[HeadConfig]] = HeadConfig

    def __init_subclass__(cls, *, kind: str, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.kind = kind
        registry.add(kind, cls)

    def __init__(self, config: HeadConfig, hidden_size: int, horizons: int) -> None:
        super().__init__()
        self.config = config
        self.horizons = horizons
        self.linear = nn.Linear(hidden_size, horizons * self.outputs)

    @property
    def outputs(self) -> int:
        """Numbers per horizon."""
        return 1

    def forward(self, h: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch horizons outputs"]:
        """Raw numbers from the last hidden state."""
        flat: Tensor = self.linear(h)
        return flat.view(*flat.shape[:-1], self.horizons, self.outputs)

    def prepare(self, labels: Float[Tensor, "windows horizons"]) -> None:
        """Look at the scaled training labels before training starts."""

    @abstractmethod
    def loss(
        self, raw: Float[Tensor, "batch horizons outputs"], label: Float[Tensor, "batch horizons"]
    ) -> Float[Tensor, ""]:
        """Mean loss, in scaled label units."""

    @abstractmethod
    def point(self, raw: Float[Tensor, "batch horizons outputs"]) -> Float[Tensor, "batch horizons"]:
        """The forecast as one number, in scaled label units."""

    def quantiles(
        self,
        raw: Float[Tensor, "batch horizons outputs"],  # noqa: ARG002 - the contract's
        levels: Sequence[float],  # noqa: ARG002 - the contract's
    ) -> Float[Tensor, "batch horizons levels"] | None:
        """Quantiles in scaled label units, or None where the head says nothing of them."""
        return None

    def likeliest(
        self,
        raw: Float[Tensor, "batch horizons outputs"],  # noqa: ARG002 - the contract's
        count: int = len(MOVES),  # noqa: ARG002 - the contract's
    ) -> tuple[Float[Tensor, "batch horizons count"], Float[Tensor, "batch horizons count"]] | None:
        """Probabilities of the likeliest next moves, highest first, and these moves in scaled label units, or None likewise."""
        return None


def read_head(section: Any, target: TargetConfig, name: str = "head") -> HeadConfig:
    """Section `head`, checked by that head's own model, and whether it answers the target.

    Raises:
        ConfigError: if the kind doesn't exist, a key is unknown, or the head can't answer the target.
    """
    kind = section.get("kind", "") if isinstance(section, dict) else ""
    config = validate(section, registry.load(kind).Config if kind else HeadConfig, name)
    allowed = targets.load(target.kind).heads
    if config.kind not in allowed:
        raise ConfigError(
            f"{name}.kind = {config.kind!r}: target {target.kind} is answered by {', '.join(allowed)}. "
            "Change one of the two."
        )
    return config


def interpolate(
    levels: Sequence[float], known: Sequence[float], values: Float[Tensor, "*rest known"]
) -> Float[Tensor, "*rest levels"]:
    """Quantiles at `levels` from those at `known`, linearly between, the outermost beyond."""
    columns = []
    for level in levels:
        right = min(max(bisect_left(known, level), 1), len(known) - 1)
        left = max(right - 1, 0)
        span = known[right] - known[left] or 1.0
        share = min(max((level - known[left]) / span, 0.0), 1.0)
        columns.append(values[..., left] + share * (values[..., right] - values[..., left]))
    return torch.stack(columns, dim=-1)
