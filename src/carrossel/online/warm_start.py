"""The champion, trained on: one more challenger."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from carrossel.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carrossel.online.champion import Champion
    from carrossel.training.config import Recipe

SUFFIX = "_warm"


@dataclass(frozen=True)
class WarmStart:
    """What became of it.

    Attributes:
        folder: of the trained model; None if the champion was left out.
        reason: a sentence for people.
    """

    folder: Path | None
    reason: str


def train_on(
    champion: Champion, bars: pd.DataFrame, data_sha256: str, params: Mapping[str, Any], root: Path
) -> WarmStart:
    """Train the champion's network on, under the recipe that params.yaml gives for its cell, on the bars at hand.

    The folder is `.carrossel/retrain/<dataset>/<cell>_warm`. Killed, it goes on like every training; done, it isn't done twice.
    The champion is left out where it doesn't answer the present recipe, and where it was trained or chosen on bars that are to
    judge challengers now.

    Raises:
        TrainingError: if the loss isn't finite.
        SeriesTooShort: if the bars don't suffice.
    """
    from carrossel.tracking.mlflow_recorder import open_run
    from carrossel.tracking.relog import log_model_folder
    from carrossel.training.session import train, training_key

    recipe = _admit(champion, bars, params)
    if champion.folder is None or isinstance(recipe, str):
        return WarmStart(None, str(recipe))
    folder = root / ".carrossel" / "retrain" / champion.dataset / recipe.competitor
    if _fingerprint(folder) == training_key(recipe, data_sha256, champion.folder):
        return WarmStart(folder, f"version {champion.version} had been trained on already")
    train(
        bars,
        recipe,
        data_sha256=data_sha256,
        folder=folder,
        checkpoints=root / ".carrossel" / "checkpoints",
        open_run=open_run,
        finish=log_model_folder,
        start=champion.folder,
    )
    return WarmStart(folder, f"version {champion.version} was trained on")


def _admit(champion: Champion, bars: pd.DataFrame, params: Mapping[str, Any]) -> Recipe | str:
    """The recipe to train the champion on under, or why it is left out."""
    from carrossel.forecaster.stored import load
    from carrossel.training.config import read_recipe

    if champion.folder is None:
        return champion.reason
    try:
        stored = load(champion.folder)
    except ModelError as error:
        return f"the champion's copy can't be used: {error}"
    kind = stored.manifest["cell"]["kind"]
    # A setting that is younger than the champion has its default there.
    cell = {"kind": kind, "config": stored.network.cells[0].config.model_dump(mode="json")}
    manifest = {**stored.manifest, "cell": cell}
    if kind not in params["cells"]:
        return f"the champion's cell {kind!r} isn't among the cells of params.yaml"
    recipe = read_recipe(champion.dataset, kind, dict(params), competitor=f"{kind}{SUFFIX}")
    asked = recipe.as_dict()
    if differing := [part for part in ("cell", "windows", "target", "head") if manifest[part] != asked[part]]:
        return f"the champion was trained with another {' and '.join(differing)} than params.yaml has"
    if part := _part_it_knows(manifest, bars, recipe):
        return f"the champion has seen bars that are {part} bars now, which would flatter it"
    return recipe


def _part_it_knows(manifest: Mapping[str, Any], bars: pd.DataFrame, recipe: Recipe) -> str | None:
    """The part of the present split that the champion's training or choice reaches into; None as long as a series only grows."""
    from carrossel.targets.base import make_target
    from carrossel.windows.forecast_rows import describe_windows
    from carrossel.windows.tensor import window_series

    data = window_series(bars, recipe.windows, make_target(recipe.target), recipe.dataset)
    split = describe_windows(data)["split"]
    for seen, part in (("train", "validation"), ("validation", "test")):
        if pd.Timestamp(manifest["split"][seen]["last"]) > pd.Timestamp(split[seen]["last"]):
            return part
    return None


def _fingerprint(folder: Path) -> str | None:
    """Of the training that left a folder; None if there is none."""
    try:
        return str(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError):
        return None
