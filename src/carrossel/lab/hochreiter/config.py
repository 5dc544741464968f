"""Section `lab.hochreiter` of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from carrossel.config import Section

# 2^400 squared is still a float64; beyond, an exploding gradient has no norm
Alpha = Annotated[float, Field(ge=0.1, le=2.0)]


class Hochreiter(Section):
    """Section `lab.hochreiter`: which recurrent weights, and how far back."""

    alphas: tuple[Alpha, ...] = Field(
        default=(0.5, 0.9, 1.0, 1.1, 1.5),
        min_length=1,
        description="Scales of the recurrent weights, W = α · orthogonal: below 1 'W_rec small', above 1 'W_rec large'.",
    )
    steps: int = Field(default=50, ge=1, le=400, description="How many steps back the error travels.")
    hidden_size: int = Field(default=32, ge=1, le=512, description="Units of the networks.")
    sequences: int = Field(default=16, ge=1, le=4096, description="Random sequences over which norms are averaged.")
    seed: int = Field(default=1, ge=0, description="Of weights and sequences.")
    shown: tuple[str, ...] = Field(
        default=("rnn", "lstm", "gru"),
        description="Trained networks that are named where they lie over the powers of α; the others stay grey.",
    )
