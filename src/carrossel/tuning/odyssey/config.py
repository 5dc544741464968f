"""Section `odyssey` of params.yaml."""

from __future__ import annotations

from pydantic import Field, model_validator

from carrossel.tuning.config import Space, Where

# The paper's vanilla LSTM, which its variants take one thing away from, then what people call an LSTM today.
_REFERENCES = ("peephole_diagonal", "lstm")


class Odyssey(Where):
    """Which cells are tried how often, over what."""

    dataset: str = Field(description="The series that every cell is tried on.")
    cells: tuple[str, ...] = Field(
        min_length=1,
        description="Files in src/carrossel/cells; an entry of `cells` gives what the space leaves alone, else defaults do.",
    )
    reference: str | None = Field(
        None,
        description="The cell that others are compared with; null: peephole_diagonal, the paper's LSTM, if it is among them, "
        "else lstm, else the first.",
    )
    trials: int = Field(20, ge=1, description="Random trials of each cell that don't fail; the paper has 200.")
    epochs: int = Field(3, ge=1, description="Epochs of a trial and fold, at most.")
    folds: int = Field(
        1,
        ge=1,
        description="Walk-forward folds before the test part; skill is their median. 1: the validation part alone.",
    )
    seed: int = Field(1, ge=0, lt=2**31, description="Of the draws; every cell has its own.")
    track_trials: bool = Field(
        default=False, description="Whether every trial is a run of its own in MLflow, below the odyssey's."
    )
    space: dict[str, Space] = Field(
        min_length=1, description="Dotted keys that every cell has, such as cell.hidden_size or training.learning_rate."
    )

    @model_validator(mode="after")
    def _agrees(self) -> Odyssey:
        if len(set(self.cells)) < len(self.cells):
            raise ValueError("cells: each may be named once")
        if self.reference is not None and self.reference not in self.cells:
            raise ValueError(f"reference = {self.reference}: not among cells, {', '.join(self.cells)}")
        if "cell.kind" in self.space:
            raise ValueError("space.cell.kind: cells says which kinds are tried; take the key out of the space")
        for key, space in self.space.items():
            if space.when:
                raise ValueError(
                    f"space.{key}.when: variance can be split only among keys that every trial draws; take `when` out"
                )
        return self

    @property
    def compared_with(self) -> str:
        """The cell that others are compared with."""
        known = [cell for cell in (self.reference, *_REFERENCES) if cell in self.cells]
        return known[0] if known else self.cells[0]
