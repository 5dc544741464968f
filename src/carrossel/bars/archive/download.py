"""From a live source by way of its archive to the raw bars that the pipeline starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from carrossel import files
from carrossel.bars.archive.archive import Archive
from carrossel.bars.store import write_raw_partitions
from carrossel.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.bars.config import Dataset
    from carrossel.bars.sources.base import LiveSource


def download_live(
    source: LiveSource, folder: Path, raw: Path, dataset: Dataset, clock: pd.Timestamp
) -> tuple[str, ...]:
    """Bring an archive up to date and write the newest revision of each of its bars, one file per partition.

    Args:
        folder: of the archive.
        raw: folder to replace.
        clock: the present, UTC; the source may see it otherwise.

    Returns:
        Sentences for the person who runs the stage.

    Raises:
        SourceError: if there is no bar, neither from now nor from before.
        BarsError: see `Archive.update`.
    """
    archive, start = Archive(folder, dataset.interval), source.first()
    now = source.present(clock, archive.last, pd.Timedelta(dataset.bar_interval))
    update = archive.update(source, now)
    if archive.last is None:
        raise SourceError(f"{source.kind}: no bars from {start} to {now}. Check start and symbol.")
    with files.replacing_folder(raw) as temporary:
        rows = write_raw_partitions(temporary, archive.partitions(start), source.describe(), raw)
    counts = f"{update.added:,} new and {update.revised:,} revised bars from {source.kind}"
    dropped = (f"{update.dropped:,} rows outside of what was asked for were dropped",) if update.dropped else ()
    return (*update.failed, *dropped, f"{counts}, {rows:,} in all")
