"""The database behind ledger and predictions: SQLite beside params.yaml, or whatever SQLAlchemy can reach."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from sqlalchemy import MetaData, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from carrossel.config import load_params, validate
from carrossel.errors import StoreError
from carrossel.online.config import Online

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy import Engine

VARIABLE = "CARROSSEL_STORE"
_BUSY_SECONDS = 30


def read_online() -> Online:
    """The section as params.yaml has it; its defaults where there is none.

    Raises:
        ConfigError: see `carrossel.config.validate`.
    """
    return validate(load_params().get("online"), Online, "online")


def open_database(
    tables: MetaData, root: Path, url: str | None = None, environment: Mapping[str, str] = os.environ
) -> Engine:
    """Connect and make what tables are lacking.

    Args:
        tables: those of the caller.
        root: folder of `online.db`, for SQLite without a URL, and of the lock that lets one process at a time make tables.
        url: `online.store`; `CARROSSEL_STORE` wins over it.

    Raises:
        StoreError: if the database doesn't answer or refuses, without a word of its credentials.
    """
    url = environment.get(VARIABLE) or url or f"sqlite:///{root / 'online.db'}"
    try:
        parsed = make_url(url)
        lite = parsed.get_backend_name() == "sqlite"
        engine = create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS} if lite else {"connect_timeout": 5})
        if lite:
            event.listen(engine, "connect", _configure_sqlite)
        lock = root / ".carrossel" / "locks" / "database.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):  # two at once would both make the tables
            _make(tables, engine)
    except ArgumentError:
        raise StoreError("online.store isn't a database URL, such as postgresql+psycopg://host/name.") from None
    except (SQLAlchemyError, ImportError, OSError) as error:
        raise StoreError(
            f"{_shown(url)} can't be used: {explain(error, url)}. Mend it or change online.store."
        ) from None
    return engine


def _make(tables: MetaData, engine: Engine) -> None:
    try:
        tables.create_all(engine)
    except (ProgrammingError, IntegrityError):  # on PostgreSQL: another machine made them this very moment
        tables.create_all(engine)


def explain(error: BaseException, url: str = "") -> str:
    """First line of a database's complaint, without credentials."""
    text = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    try:
        password = make_url(url).password if url else None
    except ArgumentError:
        password = None
    line = text[0][:300]
    return line.replace(str(password), "***") if password else line


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


def _configure_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers and one writer at once
    cursor.execute("PRAGMA synchronous=FULL")  # what was committed is there after a power cut
    cursor.close()
