"""Section `training` of params.yaml, and the whole recipe of one training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from carrossel.cells.unrolling import Backend  # noqa: TC001 - pydantic reads annotations at run time
from carrossel.config import Section, lookup, lookup_for, validate
from carrossel.forecaster.heads.base import HeadConfig, read_head
from carrossel.forecaster.network import read_cell
from carrossel.windows.question import read_question

if TYPE_CHECKING:
    from carrossel.cells.base import CellConfig
    from carrossel.targets.base import TargetConfig
    from carrossel.windows.config import Windows


class Training(Section):
    """How a network is fitted."""

    seed: int = Field(1, ge=0, lt=2**31, description="Of initial weights, order of windows and dropout.")
    epochs: int = Field(ge=1, description="Passes over the training part, at most.")
    patience: int = Field(3, ge=1, description="Epochs without a better validation loss before training stops.")
    batch_size: int = Field(256, ge=1, description="Windows per optimiser step.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Of AdamW.")
    weight_decay: float = Field(0.0, ge=0, description="Of AdamW; 0 makes it Adam.")
    clip_norm: float = Field(1.0, ge=0, description="Largest gradient norm; 0 turns clipping off.")
    probe_windows: int = Field(
        64, ge=1, description="Windows of the fixed batch that gradients, gates and the like are measured on."
    )
    diagnose_every: int = Field(
        1,
        ge=0,
        description="Epochs from one look at gradients by lag, sensitivity, gates and recurrent weights to the next; the "
        "epoch whose weights are kept is looked at too. 0 turns them off.",
    )
    jacobians_every: int | None = Field(
        None,
        ge=1,
        description="Likewise of Jacobians and Lyapunov exponents, about as dear as an epoch; null turns them off.",
    )
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = Field("auto", description="Where to train.")
    backend: Backend = Field(
        "auto",
        description="What runs the cells: numba kernels, torch's own layers, the readable loop; auto picks the fastest.",
    )
    threads: int = Field(
        1, ge=0, description="CPU threads of one training; 0 takes every core, which pays from about 128 units on."
    )


@dataclass(frozen=True)
class Recipe:
    """All that determines a training besides the data and the code.

    Args:
        competitor: the name it competes under: a cell's kind, or `tuned`.
    """

    dataset: str
    competitor: str
    kind: str
    cell: CellConfig
    windows: Windows
    target: TargetConfig
    head: HeadConfig
    training: Training

    def as_dict(self) -> dict[str, Any]:
        """Plain data for manifests, fingerprints and run parameters."""
        return {
            "dataset": self.dataset,
            "competitor": self.competitor,
            "cell": {"kind": self.kind, "config": self.cell.model_dump(mode="json")},
            "windows": self.windows.model_dump(mode="json"),
            "target": self.target.model_dump(mode="json"),
            "head": self.head.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
        }


def read_recipe(dataset: str, kind: str, params: dict[str, Any], competitor: str | None = None) -> Recipe:
    """The recipe that params.yaml gives for a cell on a dataset.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    windows, target = read_question(dataset, params)
    return Recipe(
        dataset=dataset,
        competitor=competitor or kind,
        kind=kind,
        cell=read_cell(kind, params),
        windows=windows,
        target=target,
        head=read_head(lookup_for(dataset, "head", params), target),
        training=validate(lookup("training", params), Training, "training"),
    )
