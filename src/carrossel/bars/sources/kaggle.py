"""Data sets of Kaggle, such as the minute bars of bitcoin since 2012."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from carrossel.bars.sources.base import RawBars, Source, SourceConfig
from carrossel.bars.sources.csv import WATCHED_FOLDER, Csv
from carrossel.bars.sources.web.address import redact
from carrossel.bars.sources.web.extras import require
from carrossel.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kaggle(Source, kind="kaggle"):
    """One CSV of a data set, fetched by kagglehub, which keeps what it has and knows of newer versions.

    Both layouts of the bitcoin data set are read, the old one with its rows of NaN, too.
    """

    class Config(SourceConfig):
        """Which file of which data set."""

        kind: Literal["kaggle"]
        dataset: str = Field(
            "mczielinski/bitcoin-historical-data",
            pattern=r"^[\w-]+/[\w-]+(/versions/[1-9][0-9]*)?$",
            description="owner/name, or owner/name/versions/3 to stay with one version.",
        )
        file: str = Field(
            "btcusd_1-min_data.csv",
            pattern=r"^[\w -][\w .()-]*(/[\w -][\w .()-]*)*$",
            description="File inside of the data set.",
        )

    config: Config

    def fetch(self) -> RawBars:
        config = self.config
        kagglehub = require("kagglehub", self.kind)
        try:
            path = Path(kagglehub.dataset_download(config.dataset, path=config.file))
        except Exception as error:  # noqa: BLE001 -- kagglehub raises its own, requests' and built-in exceptions alike
            said = redact(" ".join(str(error).split()))[:300] or type(error).__name__
            raise SourceError(
                f"kaggle.com/datasets/{config.dataset}: {config.file} didn't come ({said}). Check dataset and file; some data sets "
                "want an account, see https://github.com/Kaggle/kagglehub#authenticate."
            ) from None
        raw = Csv(Csv.Config.model_validate({"kind": "csv", "path": path}), self.root, self.interval).fetch()
        version = re.search(r"/versions/(\d+)/", path.as_posix())
        told = {
            **raw.provenance,
            **self._asked(),
            "version": int(version[1]) if version else None,
            "terms": f"https://www.kaggle.com/datasets/{config.dataset.split('/versions/')[0]}",
        }
        # The cache of kagglehub is no folder of DVC's, and needn't be.
        return dataclasses.replace(
            raw, provenance=told, notes=tuple(note for note in raw.notes if WATCHED_FOLDER not in note)
        )

    def gave(self, provenance: Mapping[str, Any]) -> bool:
        return all(provenance.get(key) == value for key, value in self._asked().items())

    def _asked(self) -> dict[str, str]:
        return {"kind": self.kind, "path": self.config.file, "dataset": self.config.dataset}
