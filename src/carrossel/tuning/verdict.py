"""Did tuning help? The best configuration and the default, both trained in full, on the test part."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from carrossel.errors import StudyError
from carrossel.evaluation.significance import LEVEL, diebold_mariano
from carrossel.evaluation.verdicts import format_p, format_percent
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import make_target
from carrossel.training.fitting import fit
from carrossel.training.outputs import store
from carrossel.tuning.space import default_values
from carrossel.windows.forecast_rows import forecast_rows
from carrossel.windows.tensor import window_series

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carrossel.training.config import Recipe
    from carrossel.tuning.config import Space

_SAME = ("origin", "horizon")


def compare_best(
    bars: pd.DataFrame, best: Recipe, default: Recipe, best_folder: Path, space: Mapping[str, Space]
) -> dict[str, Any]:
    """Train the default as the best was, and test whether the best's squared errors are lower by more than luck.

    Only here does anything of a study meet the test part, after its last trial.

    Args:
        bars: all of them.
        best: the recipe that `best_folder` was trained by.
        default: the recipe of params.yaml, same epochs and seed.
        best_folder: the model folder of the best.
        space: whose keys' values are told.

    Returns:
        Plain data: `default` and `best`, values by key; `rows`, test rows that both forecast, and `first` and `last` of their
        origins; `skill_default` and `skill_best`, 1 − MSE / MSE of 'tomorrow = today' on those rows, in the target's unit, mean
        over horizons; `loss_ratio`, MSE of the best / of the default; `p_better` and `p_worse`, one-sided: the chance of
        such losses if the best is no better, or no worse, than the default; `data_sha256`, `code_revision`; `sentence`.

    Raises:
        StudyError: if `best_folder` can't be read or no row is forecast by both.
        ModelError: if there are too few rows for the test.
        TrainingError: if the default can't be trained.
    """
    mine, manifest = _read(best_folder)
    same = replace(best, competitor=default.competitor) == default
    theirs = mine if same else _forecast_test(bars, default)
    rows = mine.merge(theirs, on=list(_SAME), suffixes=("", "_default"))
    if rows.empty:
        raise StudyError(
            f"{default.dataset}: the tuned network and the default forecast no common row of the test part. "
            "Choose shorter windows.lookback in tuning.space, or a longer test part."
        )
    losses = pd.DataFrame(
        {
            "best": (rows["truth"] - rows["forecast"]) ** 2,
            "default": (rows["truth_default"] - rows["forecast_default"]) ** 2,
            "unchanged": (rows["truth"] - rows["unchanged"]) ** 2,
        }
    )
    losses = losses.groupby(rows["origin"]).mean().sort_index()
    mean = losses.mean()
    horizon = int(rows["horizon"].max())
    found = {
        "default": default_values(default, space),
        "best": default_values(best, space),
        "rows": len(losses),
        "first": losses.index[0].isoformat(),
        "last": losses.index[-1].isoformat(),
        "skill_default": float(1 - mean["default"] / mean["unchanged"]),
        "skill_best": float(1 - mean["best"] / mean["unchanged"]),
        "loss_ratio": float(mean["best"] / mean["default"]),
        "p_better": diebold_mariano(losses["best"] - losses["default"], horizon).p_better,
        "p_worse": diebold_mariano(losses["default"] - losses["best"], horizon).p_better,
        "data_sha256": manifest["data_sha256"],
        "code_revision": manifest["code_revision"],
    }
    names = (best.kind, "default" if best.kind == default.kind else f"default {default.kind}")
    return {**found, "sentence": _say_same(best.kind) if same else _say(*names, found)}


def _forecast_test(bars: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    data = window_series(bars, recipe.windows, make_target(recipe.target), recipe.dataset)
    done = fit(data, recipe, MemoryRecorder(), name=f"tune@{recipe.dataset} default", quiet=True, diagnose=False)
    origins = data.split.test
    found = store(done, data, recipe, {}).forecast(data.series, origins, data.bars["close"][origins])
    return forecast_rows(data, origins, found.point)


def _read(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    try:
        rows = pd.read_parquet(folder / "forecasts.parquet")
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{folder} can't be read ({error}). Train it again: dvc repro tune@{folder.parent.name}"
        ) from None
    return rows[rows["split"] == "test"].drop(columns="split"), manifest


def _say_same(kind: str) -> str:
    return f"The study's best configuration is the default {kind} itself: there is nothing to compare."


def _say(kind: str, default: str, found: Mapping[str, Any]) -> str:
    change = found["loss_ratio"] - 1
    size = f"{format_percent(abs(change))} {'lower' if change < 0 else 'higher'} than"
    if found["p_better"] < LEVEL:
        end, p = "tuning helped", found["p_better"]
    elif found["p_worse"] < LEVEL:
        end, p = "tuning did harm", found["p_worse"]
    else:
        end, p = "no evidence that tuning helped", found["p_better"]
    return (
        f"The tuned {kind}'s squared error is {size if change else 'equal to'} the {default}'s on {found['rows']:,} test rows "
        f"({format_p(p)}): {end}."
    )
