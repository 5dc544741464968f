"""Competitors of one dataset as evaluation sees them: the files of `models/D/C/`, read and checked, no weights."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carrossel.errors import ModelError
from carrossel.evaluation.metrics import PERSISTENCE
from carrossel.targets.base import QUANTILES, Unit, quantile_column

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

SPLITS = ("validation", "test")
FILES = ("manifest.json", "forecasts.parquet")
NETWORK_FILES = ("history.csv", "gradient_by_lag.csv")
BASELINES = "baselines"
"""Folder within a dataset's models that holds the baselines."""
TUNED = "tuned"
"""The network of a study, whose windows may be its own."""
_ASKED = {"horizon", "train", "validation"}  # keys of windows that no study may choose
_VALUES = ("unchanged", "truth", "forecast")


class Manifest(BaseModel):
    """What evaluation needs of `manifest.json`; other keys belong to other rooms."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    cell: dict[str, Any] | None = Field(None, description="The cell's `kind` and `config`; none for a baseline.")
    baseline: dict[str, Any] | None = Field(None, description="The baseline's `kind` and `config`; none for a network.")
    windows: dict[str, Any] = Field(description="Section `windows` the training ran with.")
    target: dict[str, Any] = Field(description="Section `target` the training ran with.")
    unit: Unit = Field("price", description="What forecasts are judged in.")
    training: dict[str, Any] = Field({}, description="Section `training` of a network, its seed among them.")
    parameters: int = Field(0, ge=0, description="Number of trained parameters of a network.")
    best_epoch: int = Field(0, ge=0, description="Epoch whose weights were kept.")
    data_sha256: str = Field(description="Digest of the bars the model was trained on.")
    code_revision: str = Field(description="Commit of the code that trained it.")
    split: dict[str, dict[str, Any]] = Field(description="First and last origin and number of windows of every part.")
    train_mae_naive: float = Field(
        gt=0, description="Mean absolute error of persistence on the training part, in the unit: the scale of MASE."
    )


@dataclass(frozen=True)
class Competitor:
    """One network or baseline: who it is, what it forecast, and how it learned where it is a network."""

    name: str
    manifest: Manifest
    forecasts: pd.DataFrame
    history: pd.DataFrame
    gradient_by_lag: pd.DataFrame

    @property
    def is_baseline(self) -> bool:
        """Whether it is no network: it competes, but isn't registered."""
        return self.manifest.baseline is not None

    @property
    def quantiles(self) -> dict[float, str]:
        """Columns of the quantiles it forecast, by level; empty for a competitor that only forecasts a number."""
        columns = {level: quantile_column(level) for level in QUANTILES}
        return {level: column for level, column in columns.items() if column in self.forecasts}

    @property
    def horizons(self) -> tuple[int, ...]:
        """Bars ahead, nearest first."""
        return tuple(sorted(int(horizon) for horizon in self.forecasts["horizon"].unique()))

    def rows(self, split: str, horizon: int | None = None) -> pd.DataFrame:
        """The forecasts of one part and horizon (the nearest if not given) in time order, index from 0."""
        wanted = self.horizons[0] if horizon is None else horizon
        part = self.forecasts[(self.forecasts["split"] == split) & (self.forecasts["horizon"] == wanted)]
        return part.sort_values("origin", ignore_index=True)


def read_competitors(
    folder: Path, names: Collection[str] | None = None, tell: Callable[[str], None] | None = None
) -> list[Competitor]:
    """Read who competes on one dataset: its networks by name, then its baselines by name.

    A baseline called `persistence` is left out: it is what every other is measured against, and `score` has it anyway. So is
    `tuned` where its study chose windows that lead to other rows than the others forecast.

    Args:
        folder: `models/D`; each visible sub-folder is a network, each within `baselines` a baseline.
        names: who competes; what else lies there is left out. None takes all.
        tell: takes a line for people if `tuned` is left out.

    Raises:
        ModelError: if there is none, a name comes twice, a folder lacks files, a file can't be read, a forecast isn't
            finite, or the competitors were not asked for the very same rows of the very same data.
    """
    folders = [f for f in _visible(folder) if f.name != BASELINES]
    folders += [f for f in _visible(folder / BASELINES) if f.name != PERSISTENCE]
    if names is not None:
        folders = [f for f in folders if f.name in names]
    if not folders:
        raise ModelError(f"{folder} holds no trained model. Train first: dvc repro evaluate@{folder.name}.")
    for name, count in Counter(f.name for f in folders).items():
        if count > 1:
            raise ModelError(f"{folder.name}: a network and a baseline are both called {name!r}. Name one otherwise.")
    competitors = [_read(f, f.relative_to(folder.parent).as_posix()) for f in folders]
    if line := _part_with_tuned(folder.name, competitors):
        competitors = [c for c in competitors if c.name != TUNED]
        if tell:
            tell(line)
    _check_same_questions(folder.name, competitors)
    return competitors


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def _read(folder: Path, where: str) -> Competitor:
    if folder.name == PERSISTENCE:
        raise ModelError(f"{where}: the name {PERSISTENCE!r} is the baseline's. Name the competitor otherwise.")
    _demand(where, folder, FILES)
    try:
        manifest = Manifest.model_validate(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
        network = manifest.baseline is None
        if network:
            _demand(where, folder, NETWORK_FILES)
        competitor = Competitor(
            name=folder.name,
            manifest=manifest,
            forecasts=pd.read_parquet(folder / "forecasts.parquet"),
            history=pd.read_csv(folder / "history.csv") if network else pd.DataFrame(),
            gradient_by_lag=pd.read_csv(folder / "gradient_by_lag.csv") if network else pd.DataFrame(),
        )
    except ValidationError as error:
        keys = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors())
        raise ModelError(f"{where}/manifest.json: {keys}. Train it again.") from None
    except ValueError as error:  # broken JSON, CSV and Parquet all end here
        raise ModelError(f"{where} has a file that can't be read ({error}). Train it again.") from None
    _check_columns(where, "forecasts.parquet", competitor.forecasts, ("split", "origin", "time", "horizon", *_VALUES))
    if network:
        _check_columns(where, "history.csv", competitor.history, ("epoch", "train_loss", "validation_loss"))
        _check_columns(where, "gradient_by_lag.csv", competitor.gradient_by_lag, ("epoch", "layer", "lag", "h"))
    _check_rows(where, competitor)
    return competitor


def _demand(where: str, folder: Path, files: Sequence[str]) -> None:
    lacking = [name for name in files if not (folder / name).is_file()]
    if lacking:
        raise ModelError(
            f"{where} lacks {', '.join(lacking)}: its training didn't end. Train it again, or remove {folder} if the "
            "competitor is no longer in params.yaml."
        )


def _check_columns(where: str, name: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise ModelError(
            f"{where}/{name} has no column {', '.join(lacking)}; it has {', '.join(map(str, table))}. Train it again."
        )


def _check_rows(where: str, competitor: Competitor) -> None:
    for split in SPLITS:
        if not competitor.forecasts["split"].eq(split).any():
            raise ModelError(f"{where}/forecasts.parquet has no row of split {split!r}. Train it again.")
        for horizon in competitor.horizons:
            rows = competitor.rows(split, horizon)
            if rows["origin"].duplicated().any():
                twice = rows["origin"][rows["origin"].duplicated()].iloc[0]
                raise ModelError(f"{where}/forecasts.parquet, {split}: origin {twice} comes twice. Train it again.")
            for column in (*_VALUES, *competitor.quantiles.values()):
                bad = ~np.isfinite(rows[column].to_numpy(dtype=float))
                if bad.any():
                    raise ModelError(
                        f"{where}/forecasts.parquet, {split}: {int(bad.sum())} of {len(rows)} values in {column!r} are "
                        f"not finite, first at origin {rows['origin'][int(bad.argmax())]}. Train it again; if it stays, "
                        "lower training.learning_rate."
                    )


def _part_with_tuned(dataset: str, competitors: Sequence[Competitor]) -> str:
    """Why `tuned` can't be compared, if that is its study's doing; every other difference is an error."""
    tuned = next((c for c in competitors if c.name == TUNED and not c.is_baseline), None)
    other = next((c for c in competitors if c is not tuned), None)
    if tuned is None or other is None or tuned.horizons != other.horizons:
        return ""
    ours, theirs = tuned.manifest.windows, other.manifest.windows
    chosen = [key for key in theirs if ours.get(key) != theirs[key]]
    if not chosen or set(chosen) & _ASKED or tuned.manifest.data_sha256 != other.manifest.data_sha256:
        return ""
    if all(_same_rows(tuned, other, *asked) for asked in product(SPLITS, other.horizons)):
        return ""
    return (
        f"{dataset}: {TUNED} answers other rows, since its study chose windows.{' and windows.'.join(chosen)}; it is left out here "
        f"and compared with the default in reports/studies/{dataset}/study.html."
    )


def _same_rows(first: Competitor, other: Competitor, split: str, horizon: int) -> bool:
    a, b = first.rows(split, horizon), other.rows(split, horizon)
    return a["origin"].equals(b["origin"]) and a["time"].equals(b["time"])


def _check_same_questions(dataset: str, competitors: Iterable[Competitor]) -> None:
    """Competitors are compared on equal rows or not at all."""
    first, *others = competitors
    for other in others:
        if other.manifest.data_sha256 != first.manifest.data_sha256:
            raise ModelError(
                f"{dataset}: {first.name} was trained on data {first.manifest.data_sha256[:12]} and {other.name} on "
                f"{other.manifest.data_sha256[:12]}. Train the older one again: dvc repro evaluate@{dataset}."
            )
        for what, ours, theirs in (
            ("the unit", first.manifest.unit, other.manifest.unit),
            ("windows.horizon", first.horizons, other.horizons),
        ):
            if ours != theirs:
                raise ModelError(
                    f"{dataset}: {first.name} and {other.name} differ in {what} ({ours} against {theirs}), so they answer "
                    f"different questions. Train the older one again: dvc repro evaluate@{dataset}."
                )
        for split, horizon in product(SPLITS, first.horizons):
            _check_same_rows(f"{dataset}, {split}", first, other, split, horizon)


def _check_same_rows(where: str, first: Competitor, other: Competitor, split: str, horizon: int) -> None:
    a, b = first.rows(split, horizon), other.rows(split, horizon)
    if not _same_rows(first, other, split, horizon):
        raise ModelError(
            f"{where}: {first.name} and {other.name} forecast different rows ({_span(a)} against {_span(b)}), so their "
            "scores can't be compared. Train both with the same windows section."
        )
    for column in ("truth", "unchanged"):
        # prices may have gone through float32 on one side: 24 bits of mantissa, 6e-8 relative
        if not np.allclose(a[column], b[column], rtol=1e-6, atol=1e-12):
            raise ModelError(f"{where}: {first.name} and {other.name} disagree about {column!r}. Train both.")


def _span(rows: pd.DataFrame) -> str:
    return f"{len(rows)} rows, {rows['origin'].iloc[0]} to {rows['origin'].iloc[-1]}"
