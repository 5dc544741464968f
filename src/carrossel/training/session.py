"""One training from bars to model folder, safe to kill at any moment."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from carrossel.files import sha256, write_text
from carrossel.forecaster.stored import WEIGHTS, load
from carrossel.revision import code_revision
from carrossel.targets.base import make_target
from carrossel.training.fingerprint import fingerprint
from carrossel.training.fitting import Fit, fit
from carrossel.training.outputs import write_model
from carrossel.windows.tensor import window_series

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from carrossel.recorder import OpenRun, Recorder
    from carrossel.training.config import Recipe


def train(
    bars: pd.DataFrame,
    recipe: Recipe,
    *,
    data_sha256: str,
    folder: Path,
    checkpoints: Path,
    open_run: OpenRun,
    finish: Callable[[Recorder, Path], None],
    start: Path | None = None,
) -> Fit:
    """Fit a recipe's network and write its model folder.

    What a killed training needs to go on lies in `checkpoints / <fingerprint>`, outside the pipeline's outputs, and goes when
    the folder is written. The tracked run's id lies there too, so that the resumed training goes on in the same run.

    Args:
        open_run: opens the tracked run.
        finish: logs the finished folder onto the run.
        start: model folder of the same recipe, whose network is trained on; the manifest says whose weights they were, and
            the fingerprint, so that one sees whether this very training has been done.

    Raises:
        ModelError: if `start` holds no complete model.
    """
    data = window_series(bars, recipe.windows, make_target(recipe.target), recipe.dataset)
    network = load(start).network if start else None
    key = training_key(recipe, data_sha256, start)
    mine = checkpoints / key[:24]
    mine.mkdir(parents=True, exist_ok=True)
    note = mine / "run_id"
    with open_run(
        recipe.dataset,
        recipe.competitor,
        key=key,
        tags={"cell": recipe.kind, "seed": str(recipe.training.seed), "data_sha256": data_sha256},
        resume_run_id=note.read_text(encoding="utf-8") if note.exists() else None,
    ) as recorder:
        if recorder.run_id:
            write_text(note, recorder.run_id)
        name = f"train@{recipe.dataset}-{recipe.competitor}"
        done = fit(data, recipe, recorder, name=name, checkpoints=mine, start=network)
        provenance = {"data_sha256": data_sha256, "code_revision": code_revision()}
        if start:
            provenance |= {"start_sha256": sha256(start / WEIGHTS), "fingerprint": key}
        write_model(folder, done, data, recipe, provenance)
        finish(recorder, folder)
    shutil.rmtree(mine)
    return done


def training_key(recipe: Recipe, data_sha256: str, start: Path | None = None) -> str:
    """What a training's checkpoints belong to: recipe, data, code, and the weights it starts from.

    Args:
        start: see `train`.
    """
    return fingerprint(recipe, f"{data_sha256}+{sha256(start / WEIGHTS)}" if start else data_sha256)
