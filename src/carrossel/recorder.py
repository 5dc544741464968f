"""The seam between work and its record: training and evaluation write to a Recorder and know no tracking server."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypedDict, Unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from matplotlib.figure import Figure

Scalar = str | int | float | bool | None


class Recorder(Protocol):
    """Where params, metrics, figures and artifacts of one run go.

    `run_id` names the run for whoever resumes it; None where there is none.
    """

    @property
    def run_id(self) -> str | None: ...

    def params(self, values: Mapping[str, Scalar]) -> None:
        """Record the run's parameters, once each."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Record or overwrite tags."""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record all metrics of one step in one batch."""

    def curves(self, values: Mapping[int, Mapping[str, float]]) -> None:
        """Record the metrics of many steps in one batch, by step."""

    def figure(self, name: str, figure: Figure) -> None:
        """Record a plot under `name`, a path that ends in .png."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Record a copy of a file or folder."""

    def model(self, folder: Path) -> None:
        """Record a model folder as a servable model of this run."""

    def prune(self, reason: str) -> None:
        """Mark the run as stopped by a pruner."""

    def fail(self, reason: str) -> None:
        """Mark the run as failed, where no exception tells."""


class Opening(TypedDict, total=False):
    """What may be said of a run as it is opened.

    Attributes:
        tags: more of them than those that say what and of which code it is.
        parent_run_id: the run this one is part of, such as a trial's study.
        resume_run_id: the run to go on with, if it still exists.
        resume_key: go on with the parent's newest run of this key, if there is one.
        started: when the work began, in seconds since 1970; now if not given.
    """

    tags: Mapping[str, str] | None
    parent_run_id: str | None
    resume_run_id: str | None
    resume_key: bool
    started: float | None


class OpenRun(Protocol):
    """How a run is opened: the tracked one, or one in memory."""

    def __call__(
        self, dataset: str, name: str, *, key: str, **rest: Unpack[Opening]
    ) -> AbstractContextManager[Recorder]:
        """Open a run that ends with the block.

        Args:
            dataset: what the run is about; runs of one dataset stand together.
            name: the run's name, such as the competitor's.
            key: what identifies the work.
        """


class MemoryRecorder:
    """Keeps everything in memory: for tests, and for runs without a server."""

    run_id: str | None = None

    def __init__(self) -> None:
        self.seen_params: dict[str, Scalar] = {}
        self.seen_tags: dict[str, str] = {}
        self.seen_metrics: list[tuple[int, dict[str, float]]] = []
        self.seen_figures: dict[str, Figure] = {}
        self.seen_artifacts: list[tuple[str, Path]] = []

    def params(self, values: Mapping[str, Scalar]) -> None:
        self.seen_params.update(values)

    def tags(self, values: Mapping[str, str]) -> None:
        self.seen_tags.update(values)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.curves({step: values})

    def curves(self, values: Mapping[int, Mapping[str, float]]) -> None:
        self.seen_metrics.extend((step, dict(metrics)) for step, metrics in values.items())

    def figure(self, name: str, figure: Figure) -> None:
        self.seen_figures[name] = figure

    def artifact(self, path: Path, folder: str = "") -> None:
        self.seen_artifacts.append((folder, path))

    def model(self, folder: Path) -> None:
        self.seen_artifacts.append(("model", folder))

    def prune(self, reason: str) -> None:
        self.seen_tags["pruned"] = reason

    def fail(self, reason: str) -> None:
        self.seen_tags["failed"] = reason


class MemoryRuns:
    """Opens runs in memory and keeps them in the order in which they were made, each once however often it was resumed.

    A run's id is its key.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None, MemoryRecorder]] = []
        """Name, id of the parent run, record."""

    @contextmanager
    def __call__(self, dataset: str, name: str, *, key: str, **rest: Unpack[Opening]) -> Iterator[MemoryRecorder]:
        """A run; see `OpenRun`."""
        del dataset
        asked = key if rest.get("resume_key") else rest.get("resume_run_id")
        recorder = next((seen for _, _, seen in reversed(self.seen) if asked and seen.run_id == asked), None)
        if recorder is None:
            recorder = MemoryRecorder()
            recorder.run_id = key
            self.seen.append((name, rest.get("parent_run_id"), recorder))
        recorder.tags(rest.get("tags") or {})
        yield recorder
