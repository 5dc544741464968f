"""Embedded bars, so that everything runs without network and without a file of one's own."""

from __future__ import annotations

import json
from importlib import resources
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from carrossel.bars.sources.base import COLUMNS, RawBars, Source, SourceConfig, frame_of

SampleName = Literal["bitcoin", "google", "apple", "ibm", "microsoft"]


class Sample(Source, kind="sample"):
    """One of the embedded series; `carrossel/bars/samples/provenance.json` tells origin, licence and cleaning."""

    class Config(SourceConfig):
        """Which embedded series."""

        kind: Literal["sample"]
        name: SampleName = Field(
            description="bitcoin (Coinbase, hourly, 2017-2019), google, apple, ibm or microsoft (daily, to 2013)."
        )

    config: Config

    def fetch(self) -> RawBars:
        folder = resources.files("carrossel.bars.samples")
        name = self.config.name
        table = pq.read_table(pa.BufferReader((folder / f"{name}.parquet").read_bytes()))
        told = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["samples"][name]
        columns = {column: np.asarray(table[column].to_numpy(), np.float64) for column in COLUMNS[1:]}
        stamps = table["timestamp"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy().view("datetime64[ns]")
        return RawBars(frame_of(stamps, columns), {"kind": "sample", "name": name, **told})
