"""`reports/walk_forward/D.parquet`, read and checked: what every model and seed forecast, fold after fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carrossel.errors import ModelError
from carrossel.targets.base import QUANTILES, quantile_column

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COLUMNS = ("model", "seed", "fold", "origin", "time", "horizon", "unchanged", "truth", "forecast")
_VALUES = ("unchanged", "truth", "forecast")


@dataclass(frozen=True)
class WalkForward:
    """The forecasts of one horizon, of models that were asked for the very same rows.

    Attributes:
        asked: fold, origin, time, unchanged and truth, in time order, index from 0.
        forecasts: by model; one column per seed, the same rows.
        quantiles: by model that has them; a column by level, averaged over the seeds (Vincent averaging).
    """

    horizon: int
    asked: pd.DataFrame
    forecasts: dict[str, pd.DataFrame]
    quantiles: dict[str, dict[float, pd.Series]]

    def average(self, model: str) -> pd.DataFrame:
        """The rows with a model's forecast averaged over its seeds."""
        return self.asked.assign(forecast=self.forecasts[model].mean(axis=1))


def read_walk_forward(path: Path) -> dict[int, WalkForward]:
    """Read a dataset's walk-forward, by horizon, nearest first.

    Raises:
        ModelError: if the file can't be read, lacks a column or has no row, a value isn't finite, or models or seeds were
            not asked for the very same rows.
    """
    again = f"Run dvc repro walk_forward@{path.stem}."
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read ({error}). {again}") from None
    lacking = [column for column in COLUMNS if column not in table]
    if lacking:
        raise ModelError(f"{path} has no column {', '.join(lacking)}. {again}")
    if table.empty:
        raise ModelError(f"{path} has no row. {again}")
    return {
        horizon: _gather(f"{path}, horizon {horizon}", again, horizon, table[table["horizon"] == horizon])
        for horizon in sorted(map(int, table["horizon"].unique()))
    }


def _gather(where: str, again: str, horizon: int, table: pd.DataFrame) -> WalkForward:
    runs = {
        (model, seed): part[part["seed"] == seed].sort_values("origin", ignore_index=True)
        for model, part in ((str(name), table[table["model"] == name]) for name in table["model"].unique())
        for seed in map(int, part["seed"].unique())
    }
    _check(where, again, runs)
    asked = next(iter(runs.values()))[["fold", "origin", "time", "unchanged", "truth"]]
    models = list(dict.fromkeys(model for model, _ in runs))
    forecasts = {
        model: pd.DataFrame({seed: part["forecast"] for (name, seed), part in runs.items() if name == model})
        for model in models
    }
    quantiles = {
        model: _average_quantiles([part for (name, _), part in runs.items() if name == model]) for model in models
    }
    return WalkForward(horizon, asked, forecasts, {name: columns for name, columns in quantiles.items() if columns})


def _average_quantiles(parts: list[pd.DataFrame]) -> dict[float, pd.Series]:
    columns = {level: quantile_column(level) for level in QUANTILES}
    there = {
        level: column
        for level, column in columns.items()
        if all(column in p and p[column].notna().all() for p in parts)
    }
    return {level: pd.concat([p[column] for p in parts], axis=1).mean(axis=1) for level, column in there.items()}


def _check(where: str, again: str, runs: Mapping[tuple[str, int], pd.DataFrame]) -> None:
    (first, *_), reference = next(iter(runs.items()))
    for (model, seed), part in runs.items():
        who = f"{where}: {model}, seed {seed}"
        if part["origin"].duplicated().any():
            twice = part["origin"][part["origin"].duplicated()].iloc[0]
            raise ModelError(f"{who}: origin {twice} comes twice. {again}")
        for column in _VALUES:
            bad = ~np.isfinite(part[column].to_numpy(dtype=float))
            if bad.any():
                raise ModelError(
                    f"{who}: {int(bad.sum())} of {len(part)} values in {column!r} are not finite, first at origin "
                    f"{part['origin'][int(bad.argmax())]}. {again}"
                )
        if not all(part[column].equals(reference[column]) for column in ("fold", "origin", "time")):
            raise ModelError(f"{who} has other rows ({len(part)}) than {first} ({len(reference)}). {again}")
        for column in ("truth", "unchanged"):
            # prices may have gone through float32 on one side: 24 bits of mantissa, 6e-8 relative
            if not np.allclose(part[column], reference[column], rtol=1e-6, atol=1e-12):
                raise ModelError(f"{who} and {first} disagree about {column!r}. {again}")
