"""Stage `prepare@D`: canonical bars in data/bars/D.parquet and what was found on the way in reports/quality/D.*."""

from __future__ import annotations

import sys

import pandas as pd

from carrossel import config, files, stage
from carrossel.bars.config import Dataset, Repair
from carrossel.bars.preparation import prepare
from carrossel.bars.quality_page import render, summarise
from carrossel.bars.store import read_raw, write_bars


def work(name: str) -> None:
    """Check and repair the bars of one dataset."""
    root = config.project_root()
    dataset = config.read(f"datasets.{name}", Dataset)
    repair = config.read("bars", Repair)
    prepared = prepare(read_raw(root / "data" / "raw" / name), dataset, repair, name=name, now=pd.Timestamp.now("UTC"))
    reports = root / "reports" / "quality"
    with (
        files.replacing(root / "data" / "bars" / f"{name}.parquet") as bars,
        files.replacing(reports / f"{name}.json") as report,
        files.replacing(reports / f"{name}.html") as page,
    ):
        write_bars(bars, prepared.bars)
        files.write_json(report, prepared.report)
        files.write_text(page, render(prepared.report, prepared.bars))
    print(f"prepare@{name}: {summarise(prepared.report)}")


if __name__ == "__main__":
    stage.run(work, *sys.argv[1:], name="@".join(["prepare", *sys.argv[1:]]))
