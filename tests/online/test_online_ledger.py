from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from threading import Barrier, BrokenBarrierError

import pandas as pd
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, event, inspect
from sqlalchemy.exc import ProgrammingError
from typer.testing import CliRunner

from carrossel.cli import app
from carrossel.errors import StoreError
from carrossel.online.database import open_database
from carrossel.online.ledger import APPLIED, DECIDED, FOUND, Entry, open_ledger

NOW = pd.Timestamp("2026-01-02 03:04:05", tz="UTC")


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    monkeypatch.setenv("CARROSSEL_ROOT", str(tmp_path))
    monkeypatch.delenv("CARROSSEL_STORE", raising=False)
    monkeypatch.delenv("CARROSSEL_TRACKING_ROOT", raising=False)
    return tmp_path


@pytest.fixture
def ledger(root):
    with open_ledger(root) as opened:
        yield opened


def decision(**more) -> Entry:
    return Entry(**{"dataset": "d", "event": DECIDED, "actor": "test", "reason": "why", "key": "k", **more})


def test_what_was_appended_comes_back_whole_and_in_order(ledger, root):
    figures = {"conditions": {"a": {"passed": True}}, "figures": {"loss": 1 / 3, "coverage": None}}
    first = ledger.append(decision(aliases={"champion": "1"}, figures=figures, version_to="1", verdict="promoted"), NOW)
    second = ledger.append(decision(key=None, event=APPLIED, entry=first.id), NOW)
    ledger.append(decision(dataset="other", key="other"), NOW)
    assert ledger.entries("d") == [first, second]
    assert (first.time, first.figures) == ("2026-01-02T03:04:05+00:00", figures)
    with open_ledger(root) as again:
        assert [entry.id for entry in again.entries()] == [1, 2, 3]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET verdict = 'promoted'",
        "DELETE FROM ledger",
        "REPLACE INTO ledger (id, time, dataset, event, actor, reason) VALUES (1, '', 'd', 'decided', 'me', 'forged')",
        "INSERT OR REPLACE INTO ledger (time, dataset, event, actor, key, reason) VALUES ('', 'd', 'x', 'me', 'k', 'x')",
    ],
)
def test_the_database_itself_refuses_to_change_or_delete_a_row(ledger, root, statement):
    kept = ledger.append(decision(), NOW)
    with (
        closing(sqlite3.connect(root / "online.db")) as connection,
        pytest.raises(sqlite3.IntegrityError, match="the ledger can only be appended to"),
    ):
        connection.execute(statement)
    assert ledger.entries() == [kept]


def test_the_same_key_twice_is_one_decision(ledger):
    first = ledger.append(decision(reason="first"), NOW)
    second = ledger.append(decision(reason="second"), NOW + pd.Timedelta("1h"))
    assert second == first
    assert ledger.entries() == [first]
    assert ledger.find_decision("k") == first
    assert ledger.find_decision("another") is None


def test_rows_without_a_key_are_not_the_same(ledger):
    ledger.append(decision(key=None), NOW)
    ledger.append(decision(key=None), NOW)
    assert len(ledger.entries()) == 2


def test_a_state_counts_as_applied_only_once_it_was(ledger):
    assert ledger.find_state("d") == (None, True)
    first = ledger.append(decision(aliases={"champion": "1"}), NOW)
    assert ledger.find_state("d") == (first, False)
    ledger.append(decision(key=None, event=APPLIED, entry=first.id), NOW)
    assert ledger.find_state("d") == (first, True)
    found = ledger.append(decision(key=None, event=FOUND, aliases={"champion": "2"}), NOW)
    assert ledger.find_state("d") == (found, True)


def test_a_model_is_found_by_its_run_too(ledger):
    first = ledger.append(decision(model="m", run="r"), NOW)
    assert ledger.find_model("d", "m", "r") == first
    assert ledger.find_model("d", "m", "run of another store") is None


def test_two_processes_that_decide_at_once_decide_once(root):
    program = (
        "import sys, pandas as pd; from pathlib import Path; from carrossel.online.ledger import Entry, open_ledger\n"
        "root, me = Path(sys.argv[1]), sys.argv[2]\n"
        "with open_ledger(root) as ledger:\n"
        "    for n in range(20):\n"
        "        ledger.append(Entry('d', 'decided', me, 'why', key=f'k{n}'), pd.Timestamp('2026-01-01', tz='UTC'))\n"
    )
    environment = {**os.environ, "CARROSSEL_ROOT": str(root)}
    command = [sys.executable, "-c", program, str(root)]
    processes = [subprocess.Popen([*command, name], env=environment) for name in ("one", "two")]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    with open_ledger(root) as ledger:
        assert sorted(entry.key for entry in ledger.entries()) == sorted(f"k{n}" for n in range(20))


def small_tables() -> MetaData:
    tables = MetaData()
    Table("t", tables, Column("id", Integer, primary_key=True))
    return tables


def test_two_that_open_a_fresh_database_at_once_make_its_tables_once(root):
    both_found_none = Barrier(2)

    def meet(*_, **__):
        with suppress(BrokenBarrierError):  # the other one waits for the lock, as it should
            both_found_none.wait(0.5)

    def start(_number):
        tables = small_tables()
        event.listen(tables, "before_create", meet)  # what lacks has been looked up by then
        engine = open_database(tables, root, environment={})
        names = inspect(engine).get_table_names()
        engine.dispose()
        return names

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(start, range(2))) == [["t"], ["t"]]


def test_tables_that_another_machine_made_this_very_moment_are_taken(root):
    tables, refused = small_tables(), []

    def refuse_once(*_, **__):
        if not refused:
            refused.append(True)
            raise ProgrammingError("CREATE TABLE t", {}, Exception('relation "t" already exists'))

    event.listen(tables, "before_create", refuse_once)
    engine = open_database(tables, root, environment={})
    assert inspect(engine).get_table_names() == ["t"]
    engine.dispose()


def test_a_database_that_refuses_is_told_in_one_line_and_nothing_is_added(ledger, root):
    with closing(sqlite3.connect(root / "online.db")) as connection:
        connection.execute("DROP TABLE ledger")
    with pytest.raises(StoreError, match=r"the ledger in sqlite:.*no such table: ledger. Nothing was changed."):
        ledger.append(decision(), NOW)


def test_history_tells_every_entry_on_a_line(ledger):
    ledger.append(decision(verdict="refused", reason="lstm is not promoted."), NOW)
    ledger.append(decision(dataset="other", key="o", reason="gru is promoted."), NOW)
    said = CliRunner().invoke(app, ["history", "--dataset", "d"])
    assert said.output == "1  2026-01-02 03:04  d  decided: refused  (test)  lstm is not promoted.\n"
    lines = CliRunner().invoke(app, ["history", "--json"]).output.splitlines()
    assert [json.loads(line)["reason"] for line in lines] == ["lstm is not promoted.", "gru is promoted."]


def test_history_without_a_decision_says_so(root):
    assert CliRunner().invoke(app, ["history"]).output == "Nothing has been decided yet.\n"
