"""Who served when, and why: a table that can only be appended to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pandas as pd
from sqlalchemy import JSON, Column, Integer, MetaData, String, Table, Text, event, insert, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from carrossel.errors import StoreError
from carrossel.online.database import explain, open_database, read_online

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection, Engine, Select
    from sqlalchemy.engine import RowMapping

T = TypeVar("T")

DECIDED, APPLIED, ROLLED_BACK, EXPIRED, MOVED_OUTSIDE, FOUND, FORGOTTEN = (
    "decided",
    "applied",
    "rolled_back",
    "expired",
    "moved_outside",
    "found",
    "forgotten",
)
STATES = (DECIDED, ROLLED_BACK, MOVED_OUTSIDE, FOUND)
"""Events that say what the aliases shall be."""

_metadata = MetaData()
_table = Table(
    "ledger",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("time", String(40), nullable=False),
    Column("dataset", String(200), nullable=False, index=True),
    Column("event", String(40), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("key", String(400), unique=True),
    Column("entry", Integer),
    Column("model", String(64)),
    Column("run", String(64)),
    Column("competitor", String(200)),
    Column("version_from", String(40)),
    Column("version_to", String(40)),
    Column("aliases", JSON(none_as_null=True)),
    Column("data_sha256", String(64)),
    Column("code_revision", String(100)),
    Column("last_bar", String(40)),
    Column("figures", JSON(none_as_null=True)),
    Column("verdict", String(40)),
    Column("reason", Text, nullable=False),
    sqlite_autoincrement=True,  # ids are never given twice
)


@dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        event: `decided`: the gate was asked; `rolled_back`; `moved_outside`: somebody moved an alias by other means;
            `found`: aliases from before the ledger; `applied`: the aliases are what entry number `entry` says; `expired`;
            `forgotten`: the version was deleted from the registry.
        actor: which command.
        key: unique among all: what was decided once isn't decided again.
        model: SHA-256 that identifies the model; see `carrossel.tracking.relog.model_key`.
        run: MLflow's run of that model: tells one store's version 1 from another's.
        version_from, version_to: champion's version before and after; of a challenger that wasn't promoted `version_to` is
            its own version.
        aliases: versions by alias as they shall be after this entry; None where it doesn't say.
        last_bar: stamp of the newest bar it was decided on, ISO 8601.
        figures: conditions, losses, p-values and coverage, plain data.
        verdict: `promoted`, `refused` or `kept`.
        id, time: the database's number; ISO 8601 in UTC.
    """

    dataset: str
    event: str
    actor: str
    reason: str
    key: str | None = None
    entry: int | None = None
    model: str | None = None
    run: str | None = None
    competitor: str | None = None
    version_from: str | None = None
    version_to: str | None = None
    aliases: dict[str, str] | None = None
    data_sha256: str | None = None
    code_revision: str | None = None
    last_bar: str | None = None
    figures: dict[str, Any] | None = None
    verdict: str | None = None
    id: int = 0
    time: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def sentence(self) -> str:
        """One line for people."""
        what = self.event if self.verdict is None else f"{self.event}: {self.verdict}"
        return f"{self.id}  {self.time[:16].replace('T', ' ')}  {self.dataset}  {what}  ({self.actor})  {self.reason}"


class Ledger:
    """The table in an open database; every method is one transaction.

    Args:
        engine: of the database that has the table; see `open_ledger`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(self, entry: Entry, now: pd.Timestamp) -> Entry:
        """Add a row; one whose key is there already isn't added, and the first is returned.

        Raises:
            StoreError: if the database fails; then nothing was added.
        """
        values = {**asdict(entry), "time": pd.Timestamp(now).tz_convert("UTC").isoformat()}
        del values["id"]
        try:
            number = self._do(lambda connection: connection.execute(insert(_table).values(values)).inserted_primary_key)
        except IntegrityError as error:
            if entry.key is not None and (first := self.find_decision(entry.key)) is not None:
                return first
            raise _fault(error, self._engine) from None
        return replace(entry, id=int(number[0]) if number else 0, time=str(values["time"]))

    def entries(self, dataset: str | None = None) -> list[Entry]:
        """Rows of a dataset, of all if not given, oldest first.

        Raises:
            StoreError: if the database fails.
        """
        query = select(_table).order_by(_table.c.id)
        return self._read(query if dataset is None else query.where(_table.c.dataset == dataset))

    def find_decision(self, key: str) -> Entry | None:
        """The row with that key.

        Raises:
            StoreError: if the database fails.
        """
        return next(iter(self._read(select(_table).where(_table.c.key == key))), None)

    def find_model(self, dataset: str, model: str, run: str) -> Entry | None:
        """The last decision about a model as that run has it.

        Raises:
            StoreError: if the database fails.
        """
        query = select(_table).where(
            _table.c.dataset == dataset, _table.c.model == model, _table.c.run == run, _table.c.event == DECIDED
        )
        return next(iter(self._read(query.order_by(_table.c.id.desc()).limit(1))), None)

    def find_state(self, dataset: str) -> tuple[Entry | None, bool]:
        """The last row that says what the aliases shall be, and whether they have been made so.

        Raises:
            StoreError: if the database fails.
        """
        query = select(_table).where(_table.c.dataset == dataset)
        state = next(
            iter(self._read(query.where(_table.c.event.in_(STATES)).order_by(_table.c.id.desc()).limit(1))), None
        )
        if state is None or state.event in {MOVED_OUTSIDE, FOUND}:
            return state, True
        return state, bool(self._read(query.where(_table.c.event == APPLIED, _table.c.entry == state.id)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _read(self, query: Select[Any]) -> list[Entry]:
        return self._do(lambda connection: [_entry(row) for row in connection.execute(query).mappings()])

    def _do(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise _fault(error, self._engine) from None


def open_ledger(root: Path) -> Ledger:
    """The ledger of section `online.store`; made if there is none.

    Args:
        root: the project's folder.

    Raises:
        StoreError: if the database can't be used.
        ConfigError: if the section is wrong.
    """
    return Ledger(open_database(_metadata, root, read_online().store))


def _entry(row: RowMapping) -> Entry:
    return Entry(**{field.name: row[field.name] for field in fields(Entry)})


def _fault(error: SQLAlchemyError, engine: Engine) -> StoreError:
    why = explain(error, engine.url.render_as_string(hide_password=False))
    return StoreError(f"the ledger in {engine.url.render_as_string()} can't be used: {why}. Nothing was changed.")


_REFUSAL = "the ledger can only be appended to"
_SQLITE = {
    "update": "UPDATE ON ledger",
    "delete": "DELETE ON ledger",
    # INSERT OR REPLACE deletes without a delete trigger
    "replace": "INSERT ON ledger WHEN EXISTS (SELECT 1 FROM ledger WHERE id = NEW.id OR key = NEW.key)",
}


def _protect(_target: MetaData, connection: Connection, **_: Any) -> None:
    """Make the triggers; at every opening, since SQLite commits each statement that makes something by itself."""
    if connection.dialect.name == "sqlite":
        for name, when in _SQLITE.items():
            refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            connection.execute(text(f"CREATE TRIGGER IF NOT EXISTS ledger_{name} BEFORE {when} {refuse}"))
    elif connection.dialect.name == "postgresql":
        there = "SELECT 1 FROM pg_trigger WHERE tgname = 'ledger_append_only' AND tgrelid = CAST('ledger' AS regclass)"
        connection.execute(
            text(  # one block is one transaction; two that open a fresh database at once wait for each other
                f"""DO $$ BEGIN
                PERFORM pg_advisory_xact_lock(4715001);
                IF NOT EXISTS ({there}) THEN
                    CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger AS
                        'BEGIN RAISE EXCEPTION ''{_REFUSAL}''; END' LANGUAGE plpgsql;
                    CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
                        FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
                END IF;
                END $$"""
            )
        )


event.listen(_metadata, "after_create", _protect)
