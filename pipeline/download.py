"""Stage `download@D`: what dataset D's source delivers, parsed and not repaired, in data/raw/D.parquet."""

from __future__ import annotations

import sys

from carrossel import config, files, stage
from carrossel.bars.config import Dataset
from carrossel.bars.sources.base import open_source
from carrossel.bars.store import write_raw


def work(name: str) -> None:
    """Fetch the bars of one dataset."""
    root = config.project_root()
    dataset = config.read(f"datasets.{name}", Dataset)
    raw = open_source(dataset.source, root, dataset.interval).fetch()
    with files.replacing(root / "data" / "raw" / f"{name}.parquet") as path:
        write_raw(path, raw)
    for note in raw.notes:
        print(f"download@{name}: {note}")
    print(f"download@{name}: {len(raw.frame):,} rows from {dataset.source.kind}")


if __name__ == "__main__":
    stage.run(work, *sys.argv[1:], name="@".join(["download", *sys.argv[1:]]))
