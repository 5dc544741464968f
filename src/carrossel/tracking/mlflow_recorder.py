"""Runs in MLflow: one experiment per dataset, one run per training, and a training that never depends on the server."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal, Unpack

from carrossel.errors import TrackingError
from carrossel.revision import code_revision
from carrossel.tracking.config import redact
from carrossel.tracking.probe import find_fault
from carrossel.tracking.store import open_tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure
    from mlflow.entities import Run

    from carrossel.recorder import Opening, Scalar
    from carrossel.tracking.store import Store

Ending = Literal["FINISHED", "FAILED", "KILLED"]

KEY_TAG = "carrossel.key"
REASON_TAG = "carrossel.ended"
PRUNED_TAG = "carrossel.pruned"
_LONGEST_NAME = 250  # mlflow.utils.validation.MAX_ENTITY_KEY_LENGTH
_LONGEST_PARAM = 6000  # MAX_PARAM_VAL_LENGTH
_LONGEST_TAG = 8000  # MAX_TAG_VAL_LENGTH
_LONGEST_REASON = 500
_MOST_METRICS = 1000  # MAX_METRICS_PER_BATCH


class MlflowRecorder:
    """Writes one MLflow run; without a store it writes nothing.

    The first failure of the server is told in one line and is the last call to it: a training goes on at full speed.

    Args:
        store: where the run is; None for a recorder that does nothing.
        run_id: an existing run.
        resumed: the run has a past: what it holds already isn't written twice.
        strict: raise `TrackingError` at the first failure instead of going on without the server.
    """

    def __init__(self, store: Store | None, run_id: str | None, *, resumed: bool = False, strict: bool = False) -> None:
        self.run_id = run_id
        self.incomplete = False
        """Whether the server was left alone for a while: something is missing."""
        self._store = store
        self._lost: Store | None = None
        self._resumed = resumed
        self._strict = strict
        self._params: dict[str, str] | None = None if resumed else {}
        self._steps: dict[str, set[int]] = {}
        self._told: tuple[Ending, str] | None = None

    @property
    def silent(self) -> bool:
        """Whether nothing is recorded (any more)."""
        return self._store is None

    def params(self, values: Mapping[str, Scalar]) -> None:
        """Record parameters, once each: MLflow lets none be changed, so a tag names those that would have been."""

        def write(store: Store, run_id: str) -> None:
            from mlflow.entities import Param

            if self._params is None:
                self._params = dict(store.client.get_run(run_id).data.params)
            asked = {name[:_LONGEST_NAME]: str(value)[:_LONGEST_PARAM] for name, value in values.items()}
            new = {name: value for name, value in asked.items() if name not in self._params}
            store.client.log_batch(run_id, params=[Param(*item) for item in new.items()])
            changed = sorted(name for name, value in asked.items() if self._params.get(name, value) != value)
            self._params.update(new)
            if changed:
                store.client.set_tag(run_id, "carrossel.changed_params", ", ".join(changed)[:_LONGEST_TAG])

        self._attempt(write)

    def tags(self, values: Mapping[str, str]) -> None:
        """Record or overwrite tags."""

        def write(store: Store, run_id: str) -> None:
            from mlflow.entities import RunTag

            store.client.log_batch(run_id, tags=[RunTag(*item) for item in _clean_tags(values, store.uri).items()])

        self._attempt(write)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record all metrics of one step in one batch; what a resumed run has of that step stays as it is."""
        self.curves({step: values})

    def curves(self, values: Mapping[int, Mapping[str, float]]) -> None:
        """Record the metrics of many steps, as many in a batch as MLflow takes; what a resumed run has stays as it is."""

        def write(store: Store, run_id: str) -> None:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            new = [
                Metric(name, float(value), now, step)
                for step, metrics in values.items()
                for name, value in metrics.items()
                if step not in self._steps_of(store, run_id, name)
            ]
            for first in range(0, len(new), _MOST_METRICS):
                store.client.log_batch(run_id, metrics=new[first : first + _MOST_METRICS])

        self._attempt(write)

    def figure(self, name: str, figure: Figure) -> None:
        """Record a plot under `name`, a path that ends in .png."""
        if PurePosixPath(name).suffix != ".png":
            raise ValueError(f"figure {name!r}: expected a name that ends in .png")
        self._attempt(lambda store, run_id: store.client.log_figure(run_id, figure, name, save_kwargs={"dpi": 110}))

    def artifact(self, path: Path, folder: str = "") -> None:
        """Record a copy of a file or folder."""

        def write(store: Store, run_id: str) -> None:
            log = store.client.log_artifacts if path.is_dir() else store.client.log_artifact
            log(run_id, str(path), folder or None)

        self._attempt(write)

    def model(self, folder: Path) -> None:
        """Record a model folder as a servable model of this run; a run that has one keeps it.

        Raises:
            ModelError: if the folder isn't a complete model.
        """

        def write(store: Store, run_id: str) -> None:
            from carrossel.tracking.models import find_model, log_model

            if not (self._resumed and find_model(store.client, run_id)):
                log_model(store.client, run_id, folder)

        self._attempt(write)

    def prune(self, reason: str) -> None:
        """Mark the run as stopped by a pruner: it ends KILLED, neither success nor failure, and a tag says why."""
        self._told = "KILLED", reason
        self.tags({PRUNED_TAG: "true"})

    def fail(self, reason: str) -> None:
        """Mark the run as failed, where no exception tells: it ends FAILED, and a tag says why."""
        self._told = "FAILED", reason

    def silence(self) -> None:
        """Leave the server alone until the run ends, as after a failure of its own."""
        if self._store is not None:
            self._store, self._lost = None, self._store
            self.incomplete = True

    def finish(self, ending: Ending, reason: str = "") -> None:
        """End the run, with the reason as a tag; as `prune` or `fail` said, whatever came after."""
        if self._told:
            ending, reason = self._told

        def write(store: Store, run_id: str) -> None:
            if reason:
                store.client.set_tag(run_id, REASON_TAG, redact(reason, store.uri)[:_LONGEST_REASON])
            store.client.set_terminated(run_id, ending)

        self._attempt(write)
        if (store := self._lost) is not None and find_fault(store.uri) is None:
            # The server is back, but this run has holes: it must not look complete, nor as if it still ran.
            self._store, self._lost = store, None
            reason = "the tracking server was away in between; `carrossel track` makes a whole run from the results"
            ending = "FAILED"
            self._attempt(write)

    def _steps_of(self, store: Store, run_id: str, name: str) -> set[int]:
        if not self._resumed:
            return set()
        if name not in self._steps:
            self._steps[name] = {metric.step for metric in store.client.get_metric_history(run_id, name)}
        return self._steps[name]

    def _attempt(self, write: Callable[[Store, str], None]) -> None:
        if self._store is None or self.run_id is None:
            return
        from mlflow.exceptions import MlflowException

        try:
            write(self._store, self.run_id)
        except (MlflowException, OSError) as error:  # OSError: artifacts are files, and requests' errors are OSErrors
            message = self._store.explain(error)
            self.silence()
            if self._strict:
                raise TrackingError(message) from None
            tell(message)


@contextmanager
def open_run(
    dataset: str,
    name: str,
    *,
    key: str,
    store: Store | None = None,
    revision: str | None = None,
    strict: bool = False,
    **rest: Unpack[Opening],
) -> Iterator[MlflowRecorder]:
    """A run of the dataset's experiment, open while the block runs.

    It ends FINISHED; after KeyboardInterrupt KILLED; after another exception FAILED, with the reason as a tag. If the
    server doesn't answer, one line says so and the recorder does nothing.

    Args:
        dataset: names the experiment.
        name: of the run: the competitor.
        key: what identifies the work, as tag `carrossel.key`; `log_model_folder` replaces it by the results' own.
        store: an open one; section `tracking` says which if not given.
        revision: of the code; git is asked if not given.
        strict: see `MlflowRecorder`.
        rest: see `carrossel.recorder.Opening`; git commit and DVC experiment are added to its tags.

    Raises:
        TrackingError: if `strict` and the server fails.
    """
    tags = {**revision_tags(revision or code_revision()), **(rest.get("tags") or {})}
    try:
        store = store or open_tracking()
        recorder = _start(
            store,
            dataset,
            name,
            _tags(dataset, name, key, tags, rest.get("parent_run_id")),
            rest.get("resume_run_id"),
            resume_key=rest.get("resume_key", False),
            started=rest.get("started"),
            strict=strict,
        )
    except TrackingError as error:
        if strict:
            raise
        tell(str(error))
        recorder = MlflowRecorder(None, None)
    try:
        yield recorder
    except BaseException as error:
        text = " ".join(str(error).split())
        reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
        recorder.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", reason)
        raise
    recorder.finish("FINISHED")


def find_experiment(store: Store, dataset: str, *, create: bool = False) -> str | None:
    """Id of a dataset's experiment; one that was deleted in the UI is restored, so that its name can be used again."""
    from mlflow.exceptions import MlflowException

    experiment = store.client.get_experiment_by_name(dataset)
    if experiment is None and create:
        location = (store.artifacts / dataset).as_uri() if store.artifacts else None
        try:
            return str(store.client.create_experiment(dataset, artifact_location=location))
        except MlflowException:  # another process was faster
            experiment = store.client.get_experiment_by_name(dataset)
            if experiment is None:
                raise
    if experiment is None:
        return None
    if experiment.lifecycle_stage == "deleted" and create:
        store.client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def tell(message: str) -> None:
    """Print one line beside a stage's own output."""
    print(message, file=sys.stderr, flush=True)


def _start(
    store: Store,
    dataset: str,
    name: str,
    tags: dict[str, str],
    resume_run_id: str | None,
    *,
    resume_key: bool,
    started: float | None,
    strict: bool,
) -> MlflowRecorder:
    from mlflow.exceptions import MlflowException

    try:
        past = _find_active(store, resume_run_id) if resume_run_id else None
        experiment_id = "" if past else str(find_experiment(store, dataset, create=True))
        if resume_key and not past:
            past = _find_by_key(store, experiment_id, tags)
        if past:
            store.client.update_run(past.info.run_id, status="RUNNING", name=name)
            for ended in {REASON_TAG, PRUNED_TAG} & past.data.tags.keys():  # how it ends is open again
                store.client.delete_tag(past.info.run_id, ended)
            recorder = MlflowRecorder(store, past.info.run_id, resumed=True, strict=strict)
            recorder.tags(tags)
            return recorder
        run = store.client.create_run(
            experiment_id,
            start_time=None if started is None else int(started * 1000),
            tags=_clean_tags(tags, store.uri),
            run_name=name,
        )
        return MlflowRecorder(store, run.info.run_id, strict=strict)
    except (MlflowException, OSError) as error:
        raise TrackingError(store.explain(error)) from None


def _find_active(store: Store, run_id: str) -> Run | None:
    from mlflow.exceptions import MlflowException

    try:
        run = store.client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def _find_by_key(store: Store, experiment_id: str, tags: Mapping[str, str]) -> Run | None:
    wanted = {name: tags[name] for name in (KEY_TAG, "mlflow.parentRunId") if name in tags}
    said = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
    found = store.client.search_runs([experiment_id], said, max_results=1)
    return found[0] if found else None


def _tags(dataset: str, name: str, key: str, more: Mapping[str, str], parent_run_id: str | None) -> dict[str, str]:
    tags = {"dataset": dataset, "competitor": name, **more, KEY_TAG: key}
    tags["mlflow.source.name"] = PurePosixPath(sys.argv[0]).name
    if experiment := os.environ.get("DVC_EXP_NAME"):  # dvc.env: set by `dvc exp run` for its stages
        tags["dvc_experiment"] = experiment
    if parent_run_id:
        tags["mlflow.parentRunId"] = parent_run_id
    return tags


def revision_tags(revision: str) -> dict[str, str]:
    """A code revision as the project's tag and as the one MLflow's UI shows."""
    tags = {"git_commit": revision}
    if revision != "unknown":
        tags["mlflow.source.git.commit"] = revision.removesuffix("-dirty")
    return tags


def _clean_tags(tags: Mapping[str, str], uri: str) -> dict[str, str]:
    return {name[:_LONGEST_NAME]: redact(str(value), uri)[:_LONGEST_TAG] for name, value in tags.items()}
