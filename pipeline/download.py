"""Stage `download@D`: what dataset D's source delivers, parsed and not repaired, in the folder data/raw/D."""

from __future__ import annotations

import sys

import pandas as pd

from carrossel import config, stage
from carrossel.bars.archive.download import download_live, download_stored
from carrossel.bars.config import Dataset
from carrossel.bars.sources.base import LiveSource, open_source


def work(name: str) -> None:
    """Fetch the bars of one dataset."""
    root = config.project_root()
    dataset = config.read(f"datasets.{name}", Dataset)
    folder = root / "data" / "raw" / name
    source = open_source(dataset.source, root, dataset.interval)
    if isinstance(source, LiveSource):
        archive = root / "data" / "archive" / name
        notes = download_live(source, archive, folder, dataset, pd.Timestamp.now("UTC"))
    else:
        notes = download_stored(source, folder)
    for note in notes:
        print(f"download@{name}: {note}")


if __name__ == "__main__":
    stage.run(work, *sys.argv[1:], name="@".join(["download", *sys.argv[1:]]))
