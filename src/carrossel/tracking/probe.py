"""Ask whether a tracking server answers before MLflow does, whose own patience is minutes."""

from __future__ import annotations

import queue
import socket
import sqlite3
import threading
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 3.0
_SERVER_ERROR = 500
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def find_fault(uri: str, patience: float = PATIENCE_SECONDS) -> str | None:
    """Why a tracking URI can't be used now, or None if it answers.

    Takes little more than `patience` seconds for a server, whatever it or the name service does. A sqlite file is
    created, put in write-ahead mode and locked for writing.
    """
    scheme = urlsplit(uri).scheme.split("+")[0]
    if scheme == "sqlite":
        return _fault_of_sqlite(uri)
    if scheme in {"http", "https"}:
        return _within(patience, lambda: _fault_of_http(uri, patience))
    if scheme in _DATABASE_PORTS:
        return _within(patience, lambda: _fault_of_port(uri, _DATABASE_PORTS[scheme], patience))
    return None


def sqlite_path(uri: str) -> Path | None:
    """The file of a sqlite URI; None for other URIs and for a database in memory."""
    if not uri.startswith("sqlite:///"):
        return None
    path = unquote(uri.removeprefix("sqlite:///").split("?")[0])
    return Path(path) if path and path != ":memory:" else None


def _within(patience: float, ask: Callable[[], str | None]) -> str | None:
    # In a thread of its own: a hanging name service heeds no socket timeout.
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(ask()), daemon=True).start()
    try:
        return answers.get(timeout=patience + 0.5)
    except queue.Empty:
        return f"no answer within {patience:g} s"


def _fault_of_http(uri: str, patience: float) -> str | None:
    parts = urlsplit(uri)
    # user info stays out: /health needs none, and urllib would take it for a part of the host's name
    host = parts.netloc.rpartition("@")[2]
    url = f"{parts.scheme}://{host}{parts.path.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(url, timeout=patience):  # noqa: S310 - the scheme is http or https
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}" if error.code >= _SERVER_ERROR else None
    except TimeoutError:
        return f"no answer within {patience:g} s"
    except (OSError, ValueError) as error:  # URLError is an OSError; ValueError for a port that isn't a number
        return _reason(error)


def _fault_of_port(uri: str, default: int, patience: float) -> str | None:
    try:
        parts = urlsplit(uri)
        if parts.hostname is None:  # a socket file or a service definition: the driver knows where
            return None
        with socket.create_connection((parts.hostname, parts.port or default), timeout=patience):
            return None
    except (OSError, ValueError) as error:
        return _reason(error)


def _fault_of_sqlite(uri: str) -> str | None:
    path = sqlite_path(uri)
    if path is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=60), closing(sqlite3.connect(path, timeout=20)) as connection:
            # readers go on while a training writes, and writes are several times faster; the mode stays with the file
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except Timeout:
        return f"another process holds {path}.lock"
    except (OSError, sqlite3.Error) as error:
        return _reason(error)
    return None


def _reason(error: BaseException) -> str:
    cause = getattr(error, "reason", None)
    return str(cause if isinstance(cause, BaseException) else error) or type(error).__name__
