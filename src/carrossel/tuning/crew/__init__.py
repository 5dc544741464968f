"""Where a study's trials run: in this process, in warm processes beside it, or on a Dask cluster."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carrossel.tuning.config import Where
    from carrossel.tuning.crew.base import Crew
    from carrossel.tuning.data import Held


@contextmanager
def open_crew(where: Where, held: Held, scratch: Path, section: str) -> Iterator[Crew]:
    """Who runs the trials; processes on this machine end with the block.

    Args:
        held: what every trial needs.
        scratch: folder for the workers' own files.
        section: of params.yaml that `where` is part of, for messages.

    Raises:
        ConfigError: if the scheduler doesn't answer or has no workers.
        TrainingError: if local processes can't be started.
    """
    if where.workers == 1 and where.scheduler is None:
        from carrossel.tuning.crew.alone import Alone

        yield Alone(held)
        return
    from carrossel.tuning.crew.cluster import Cluster
    from carrossel.workers import open_client

    with open_client(where.scheduler, where.workers, scratch, section) as client:
        yield Cluster(client, held, section)
