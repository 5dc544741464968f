"""Trained models of one dataset as evaluation sees them: the files of `models/D/C/`, read and checked, no weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carrossel.errors import ModelError
from carrossel.evaluation.baselines import PERSISTENCE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

SPLITS = ("validation", "test")
FILES = ("manifest.json", "forecasts.parquet", "history.csv", "gradient_by_lag.csv")
_PRICES = ("last_close", "truth", "forecast")


class Manifest(BaseModel):
    """What evaluation needs of `manifest.json`; other keys belong to other rooms."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    cell: dict[str, Any] = Field(description="The cell's `kind` and `config`.")
    windows: dict[str, Any] = Field(description="Section `windows` the training ran with.")
    target: dict[str, Any] = Field(description="Section `target` the training ran with.")
    training: dict[str, Any] = Field(description="Section `training` the training ran with, its seed among them.")
    parameters: int = Field(ge=0, description="Number of trained parameters.")
    best_epoch: int = Field(ge=0, description="Epoch whose weights were kept.")
    data_sha256: str = Field(description="Digest of the bars the model was trained on.")
    code_revision: str = Field(description="Commit of the code that trained it.")
    split: dict[str, dict[str, Any]] = Field(description="First and last origin and number of windows of every part.")
    train_mae_naive: float = Field(
        gt=0, description="Mean absolute one-step change of the training part, price units: the scale of MASE."
    )


@dataclass(frozen=True)
class Competitor:
    """One trained model: who it is, what it forecast, how it learned."""

    name: str
    manifest: Manifest
    forecasts: pd.DataFrame
    history: pd.DataFrame
    gradient_by_lag: pd.DataFrame

    def rows(self, split: str) -> pd.DataFrame:
        """The forecasts of one part in time order, index from 0."""
        part = self.forecasts[self.forecasts["split"] == split]
        return part.sort_values("origin", ignore_index=True)


def read_competitors(folder: Path, names: Collection[str] | None = None) -> list[Competitor]:
    """Read the trained models of one dataset, by name.

    Args:
        folder: `models/D`; each visible sub-folder is a competitor.
        names: who competes; what else lies there is left out. None takes all.

    Raises:
        ModelError: if there is none, a folder lacks files, a file can't be read, a forecast isn't finite, or the
            competitors were not asked for the very same rows of the very same data.
    """
    folders = (
        sorted(f for f in folder.glob("*") if f.is_dir() and not f.name.startswith(".")) if folder.is_dir() else []
    )
    if names is not None:
        folders = [f for f in folders if f.name in names]
    if not folders:
        raise ModelError(f"{folder} holds no trained model. Train first: dvc repro evaluate@{folder.name}.")
    competitors = [_read(f) for f in folders]
    _check_same_questions(folder.name, competitors)
    return competitors


def _read(folder: Path) -> Competitor:
    where = f"{folder.parent.name}/{folder.name}"
    if folder.name == PERSISTENCE:
        raise ModelError(f"{where}: the name {PERSISTENCE!r} is the baseline's. Name the competitor otherwise.")
    lacking = [name for name in FILES if not (folder / name).is_file()]
    if lacking:
        raise ModelError(
            f"{where} lacks {', '.join(lacking)}: its training didn't end. Train it again, or remove {folder} if the "
            "competitor is no longer in params.yaml."
        )
    try:
        competitor = Competitor(
            name=folder.name,
            manifest=Manifest.model_validate(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))),
            forecasts=pd.read_parquet(folder / "forecasts.parquet"),
            history=pd.read_csv(folder / "history.csv"),
            gradient_by_lag=pd.read_csv(folder / "gradient_by_lag.csv"),
        )
    except ValidationError as error:
        keys = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors())
        raise ModelError(f"{where}/manifest.json: {keys}. Train it again.") from None
    except ValueError as error:  # broken JSON, CSV and Parquet all end here
        raise ModelError(f"{where} has a file that can't be read ({error}). Train it again.") from None
    _check_columns(where, "forecasts.parquet", competitor.forecasts, ("split", "origin", "time", *_PRICES))
    _check_columns(where, "history.csv", competitor.history, ("epoch", "train_loss", "validation_loss"))
    _check_columns(where, "gradient_by_lag.csv", competitor.gradient_by_lag, ("epoch", "layer", "lag", "h"))
    _check_rows(where, competitor)
    return competitor


def _check_columns(where: str, name: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise ModelError(
            f"{where}/{name} has no column {', '.join(lacking)}; it has {', '.join(map(str, table))}. Train it again."
        )


def _check_rows(where: str, competitor: Competitor) -> None:
    for split in SPLITS:
        rows = competitor.rows(split)
        if rows.empty:
            raise ModelError(f"{where}/forecasts.parquet has no row of split {split!r}. Train it again.")
        if rows["origin"].duplicated().any():
            twice = rows["origin"][rows["origin"].duplicated()].iloc[0]
            raise ModelError(f"{where}/forecasts.parquet, {split}: origin {twice} comes twice. Train it again.")
        for column in _PRICES:
            bad = ~np.isfinite(rows[column].to_numpy(dtype=float))
            if bad.any():
                raise ModelError(
                    f"{where}/forecasts.parquet, {split}: {int(bad.sum())} of {len(rows)} values in {column!r} are not "
                    f"finite, first at origin {rows['origin'][int(bad.argmax())]}. Train it again; if it stays, lower "
                    "training.learning_rate."
                )


def _check_same_questions(dataset: str, competitors: Iterable[Competitor]) -> None:
    """Competitors are compared on equal rows or not at all."""
    first, *others = competitors
    for other in others:
        if other.manifest.data_sha256 != first.manifest.data_sha256:
            raise ModelError(
                f"{dataset}: {first.name} was trained on data {first.manifest.data_sha256[:12]} and {other.name} on "
                f"{other.manifest.data_sha256[:12]}. Train the older one again: dvc repro evaluate@{dataset}."
            )
        for split in SPLITS:
            a, b = first.rows(split), other.rows(split)
            if not a["origin"].equals(b["origin"]) or not a["time"].equals(b["time"]):
                raise ModelError(
                    f"{dataset}, {split}: {first.name} and {other.name} forecast different rows ({_span(a)} against "
                    f"{_span(b)}), so their scores can't be compared. Train both with the same windows section."
                )
            for column in ("truth", "last_close"):
                # prices may have gone through float32 on one side: 24 bits of mantissa, 6e-8 relative
                if not np.allclose(a[column], b[column], rtol=1e-6, atol=0):
                    raise ModelError(
                        f"{dataset}, {split}: {first.name} and {other.name} disagree about {column!r}. Train both."
                    )


def _span(rows: pd.DataFrame) -> str:
    return f"{len(rows)} rows, {rows['origin'].iloc[0]} to {rows['origin'].iloc[-1]}"
