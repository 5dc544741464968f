"""One connection to the MLflow store: opened late, checked first, created once."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock

from carrossel.errors import TrackingError
from carrossel.tracking.config import read_tracking, redact, tracking_root
from carrossel.tracking.probe import find_fault, sqlite_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlflow import MlflowClient

    from carrossel.tracking.config import Tracking

# MLflow reads these while it is imported and at every request. What a user has set stays.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # with two retries a server that falls silent during a training stalls it once, for about 20 s instead of 6 min
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "6",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
_RESULTS_ARE_SAFE = "results are kept in DVC's outputs; run `carrossel track`"


@dataclass(frozen=True)
class Store:
    """A tracking store that answered.

    Attributes:
        uri: as MLflow wants it, credentials included: never to be printed; `name` is for people.
        client: MLflow's client for it.
        root: folder of the project whose runs these are; locks lie in it.
        artifacts: folder for the files of new experiments; None where the server decides.
    """

    uri: str = field(repr=False)
    client: MlflowClient = field(repr=False, compare=False)
    root: Path
    artifacts: Path | None

    @property
    def name(self) -> str:
        """The URI without credentials."""
        return redact(self.uri, self.uri)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keep the project's other processes out of the block."""
        file = self.root / ".carrossel" / "locks" / f"{name}.lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file):
            yield

    def explain(self, error: BaseException) -> str:
        """One line for people about a failure of this store, without credentials."""
        return explain(self.uri, error)


def open_tracking(settings: Tracking | None = None, root: Path | None = None) -> Store:
    """Connect to the store that section `tracking` or `MLFLOW_TRACKING_URI` names.

    A dead server costs seconds, since a probe with little patience goes first. One process makes the tables of a sqlite
    file while the others wait: MLflow alone fails when several meet a fresh file.

    Args:
        settings: section `tracking`; read from params.yaml if not given.
        root: folder of the sqlite file and of the artifacts; see `tracking_root`.

    Raises:
        TrackingError: if it doesn't answer or can't be used.
        ConfigError: if the section is wrong.
    """
    root = root or tracking_root()
    uri = (settings or read_tracking()).resolve(root)
    if (scheme := urlsplit(uri).scheme) in {"", "file"}:
        raise TrackingError(
            f"tracking.uri = {uri!r}: MLflow keeps runs in a database or on a server, not in a folder. "
            "Use sqlite:////absolute/file.db, postgresql+psycopg://… or http://…"
        )
    prepare_environment()
    if fault := find_fault(uri):
        raise TrackingError(_sentence(uri, fault))
    try:
        return Store(uri, _connect(uri), root, None if scheme in {"http", "https"} else root / "mlruns")
    except Exception as error:  # noqa: BLE001 - MLflow, SQLAlchemy and the database drivers have no common root
        raise TrackingError(explain(uri, error)) from None


def prepare_environment() -> None:
    """Set MLflow's variables: no telemetry, no pickle, little patience, no noise. Before the first `import mlflow`."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def explain(uri: str, error: BaseException) -> str:
    """One line for people about a failure of the store at `uri`, without credentials."""
    text = " ".join(str(getattr(error, "message", None) or error).split())
    return _sentence(uri, f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _sentence(uri: str, fault: str) -> str:
    fault = redact(fault.rstrip("."), uri)[:300]
    if sqlite_path(uri):
        return f"tracking file {uri} can't be used ({fault}); {_RESULTS_ARE_SAFE} when it can."
    return f"tracking server {redact(uri, uri)} doesn't answer ({fault}); {_RESULTS_ARE_SAFE} when it is back."


def _connect(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    # What goes wrong is told in one line of ours; MLflow would add a traceback to it.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.CRITICAL)
    path = sqlite_path(uri)
    with FileLock(f"{path}.lock", timeout=120) if path else nullcontext():
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client
