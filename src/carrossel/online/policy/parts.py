"""Finished fits on disk: one file each, never half-written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from carrossel.files import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.walk_forward.folds import Fold

Key = tuple[int, int]
"""What tells one fit of a backtest from another: first row in sight, first origin forecast."""


def key_of(fold: Fold) -> Key:
    """A fit's key."""
    return fold.first_row, int(fold.split.test[0])


@dataclass(frozen=True)
class Parts:
    """Finished fits, as `refit` returns them.

    Args:
        folder: of one fingerprint, in a folder of one model.
    """

    folder: Path

    def __contains__(self, fold: Fold) -> bool:
        """Whether a fit is finished."""
        return self._path(fold).is_file()

    def read(self, fold: Fold) -> pd.DataFrame:
        """A finished fit."""
        return pd.read_parquet(self._path(fold))

    def write(self, fold: Fold, part: pd.DataFrame) -> None:
        """Keep a finished fit."""
        with replacing(self._path(fold)) as temporary:
            part.to_parquet(temporary, compression="zstd", index=False)

    def forget_others(self) -> None:
        """Delete the model's fits of other data, knobs or code."""
        for folder in self.folder.parent.glob("*/"):
            if folder != self.folder:
                shutil.rmtree(folder)

    def _path(self, fold: Fold) -> Path:
        first_row, start = key_of(fold)
        return self.folder / f"from{first_row}-at{start}.parquet"
