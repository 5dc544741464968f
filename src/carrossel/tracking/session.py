"""Many runs over one connection, such as a study's."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Unpack

from carrossel.errors import TrackingError
from carrossel.revision import code_revision
from carrossel.tracking.mlflow_recorder import MlflowRecorder, open_run, tell
from carrossel.tracking.store import open_tracking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carrossel.recorder import Opening
    from carrossel.tracking.store import Store


class Session:
    """Opens runs: see `carrossel.recorder.OpenRun`.

    The store is connected to once, at the first run. Its first failure is told in one line and is the last call to it, whichever
    run it struck: what comes after, and what is still open, records nothing.

    Args:
        store: an open one; section `tracking` says which if not given.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._revision: str | None = None
        self._away = False
        self._open: list[MlflowRecorder] = []

    @contextmanager
    def __call__(self, dataset: str, name: str, *, key: str, **rest: Unpack[Opening]) -> Iterator[MlflowRecorder]:
        """A run, open while the block runs; see `open_run`."""
        store = self._connect()
        if store is None:
            yield MlflowRecorder(None, None)
            return
        recorder: MlflowRecorder | None = None
        try:
            with open_run(dataset, name, key=key, store=store, revision=self._revision, **rest) as recorder:
                self._open.append(recorder)
                yield recorder
        finally:
            if recorder is not None:
                self._open.remove(recorder)
                if recorder.silent or recorder.incomplete:
                    self._leave()

    def _connect(self) -> Store | None:
        if self._store is None and not self._away:
            try:
                self._store = open_tracking()
            except TrackingError as error:
                tell(str(error))
                self._away = True
        self._revision = self._revision or code_revision()  # two calls of git, as dear as a trial's run itself
        return None if self._away else self._store

    def _leave(self) -> None:
        self._away = True
        for recorder in self._open:
            recorder.silence()
