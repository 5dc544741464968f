"""From a source, a live one by way of its archive, to the raw bars that the pipeline starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from carrossel import files
from carrossel.bars.archive.archive import Archive, Occupied
from carrossel.bars.archive.visit import Update
from carrossel.bars.store import read_raw, write_raw, write_raw_partitions
from carrossel.errors import BarsError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.bars.config import Dataset
    from carrossel.bars.sources.base import LiveSource, Source


def download_live(
    source: LiveSource, folder: Path, raw: Path, dataset: Dataset, clock: pd.Timestamp, *, patience: float = 30.0
) -> tuple[str, ...]:
    """Bring an archive up to date and write the newest revision of each of its bars, one file per partition.

    Args:
        folder: of the archive.
        raw: folder to replace.
        clock: the present, UTC; the source may see it otherwise.
        patience: seconds to wait for another process that writes to the archive; then what is stored is taken.

    Returns:
        Sentences for the person who runs the stage.

    Raises:
        SourceError: if there is no bar, neither from now nor from before.
        BarsError: see `Archive.update`; that another process writes is one only while nothing is stored.
    """
    archive, start = Archive(folder, dataset.interval, patience=patience), source.first()
    now = source.present(clock, archive.last, pd.Timedelta(dataset.bar_interval))
    try:
        update = archive.update(source, now)
    except Occupied as error:
        if archive.last is None:
            raise
        update = Update(failed=(f"{error} What is stored is taken meanwhile.",))
    if archive.last is None:
        raise SourceError(f"{source.kind}: no bars from {start} to {now}. Check start and symbol.")
    with files.replacing_folder(raw) as temporary:
        rows = write_raw_partitions(temporary, archive.partitions(start), source.describe(), raw)
    counts = f"{update.added:,} new and {update.revised:,} revised bars from {source.kind}"
    dropped = (f"{update.dropped:,} rows outside of what was asked for were dropped",) if update.dropped else ()
    return (*update.failed, *dropped, f"{counts}, {rows:,} in all")


def download_stored(source: Source, raw: Path) -> tuple[str, ...]:
    """Write what a source delivers whole; if it can't be reached, bars that came from it before are kept.

    Args:
        raw: folder to replace.

    Returns:
        Sentences for the person who runs the stage.

    Raises:
        SourceError: if nothing came, and what `raw` holds isn't the source's.
    """
    try:
        delivered = source.fetch()
    except SourceError as error:
        rows = _rows_from(source, raw)
        if rows is None:
            raise
        return (str(error), f"{rows:,} rows from {source.kind} that had come before are kept")
    with files.replacing_folder(raw) as temporary:
        write_raw(temporary, delivered)
    return (*delivered.notes, f"{len(delivered.frame):,} rows from {source.kind}")


def _rows_from(source: Source, raw: Path) -> int | None:
    """How many rows of the source a folder holds; None if none, or what can't be read."""
    try:
        stored = read_raw(raw)
    except BarsError:
        return None
    return len(stored.frame) if source.gave(stored.provenance) else None
