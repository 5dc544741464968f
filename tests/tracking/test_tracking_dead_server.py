from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from carrossel.errors import TrackingError
from carrossel.tracking.config import Tracking
from carrossel.tracking.mlflow_recorder import open_run
from carrossel.tracking.store import open_tracking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carrossel.tracking.store import Store


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def mute_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)  # the kernel accepts, nobody ever answers
        yield int(listener.getsockname()[1])


def _assert_work_goes_on(uri: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with open_run("bitcoin", "lstm", key="k") as recorder:
        recorder.params({"epochs": 1})
        recorder.metrics({"loss": 1.0}, step=0)
    assert recorder.run_id is None
    lines = [line for line in "".join(capfd.readouterr()).splitlines() if line]
    assert len(lines) == 1
    assert "results are kept in DVC's outputs; run `carrossel track` when it" in lines[0]
    return lines[0]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg2"])
def test_a_closed_port_costs_one_line_that_holds_no_password(
    scheme: str, closed_port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    line = _assert_work_goes_on(f"{scheme}://ann:s3cret@127.0.0.1:{closed_port}/runs", monkeypatch, capfd)
    assert f"tracking server {scheme}://***@127.0.0.1:{closed_port}/runs doesn't answer" in line
    assert "s3cret" not in line


@pytest.mark.timeout(30)
def test_a_server_that_accepts_and_never_answers_costs_one_line(
    mute_port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "no answer within 3 s" in _assert_work_goes_on(f"http://127.0.0.1:{mute_port}", monkeypatch, capfd)


@pytest.mark.timeout(30)
def test_a_file_that_is_no_database_costs_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to look like a file with some content" * 20)
    line = _assert_work_goes_on(f"sqlite:///{tmp_path / 'mlflow.db'}", monkeypatch, capfd)
    assert "file is not a database" in line


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns"])
def test_a_folder_as_store_is_refused_with_what_to_write_instead(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"database or on a server, not in a folder\. Use sqlite"):
        open_tracking(Tracking(uri=uri), tmp_path)


def test_a_store_that_fails_during_a_run_is_told_once_and_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    calls = 0

    def fail(*args: object, **kwargs: object) -> None:
        nonlocal calls
        calls += 1
        raise _disk_full()

    with open_run("bitcoin", "lstm", key="k", store=store) as recorder, monkeypatch.context() as patch:
        patch.setattr(store.client, "log_batch", fail)
        recorder.metrics({"loss": 2.0}, step=0)
        recorder.metrics({"loss": 1.0}, step=1)
        assert recorder.silent
    assert calls == 1
    said = "".join(capfd.readouterr())
    assert said.count("\n") == 1
    assert "database or disk is full" in said
    run = store.client.get_run(str(recorder.run_id))
    # it has holes: a run that looks complete would be a lie, and `carrossel track` makes a whole one
    assert run.info.status == "FAILED"
    assert "carrossel track" in run.data.tags["carrossel.ended"]


def test_a_full_disk_for_artifacts_does_not_end_the_work(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("a\n")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with open_run("bitcoin", "lstm", key="k", store=store) as recorder:
        monkeypatch.setattr(store.client, "log_artifact", fail)
        recorder.artifact(file)
    assert "No space left on device" in capfd.readouterr().err


def test_a_damaged_database_does_not_end_the_work(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_run("bitcoin", "lstm", key="k", store=store) as recorder:
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
            other.execute("DROP TABLE metrics")
        recorder.metrics({"loss": 1.0}, step=0)
        assert recorder.silent
    assert "no such table: metrics" in capfd.readouterr().err


def test_strict_recording_raises_instead(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise _disk_full()

    monkeypatch.setattr(store.client, "log_batch", fail)
    with (
        pytest.raises(TrackingError, match="disk is full"),
        open_run("bitcoin", "lstm", key="k", store=store, strict=True) as recorder,
    ):
        recorder.metrics({"loss": 1.0})


_FIRST_CONNECTIONS = """
import multiprocessing, sys
from pathlib import Path
from carrossel.tracking.config import Tracking
from carrossel.tracking.mlflow_recorder import open_run
from carrossel.tracking.store import open_tracking, prepare_environment

def record(root, name, start):
    start.wait()
    with open_run("bitcoin", name, key="k", store=open_tracking(Tracking(), Path(root)), strict=True) as recorder:
        recorder.metrics({"loss": 1.0}, step=0)

prepare_environment()
import mlflow.store.tracking.sqlalchemy_store  # once for all: six imports would take half a minute
context = multiprocessing.get_context("fork")
start = context.Barrier(6)
processes = [context.Process(target=record, args=(sys.argv[1], f"cell {n}", start)) for n in range(6)]
for process in processes:
    process.start()
for process in processes:
    process.join()
print([process.exitcode for process in processes])
"""


def test_six_processes_that_meet_a_fresh_database_all_record(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_CONNECTIONS, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 0, 0, 0]", done.stderr
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM runs WHERE status = 'FINISHED'")}
        mode = connection.execute("PRAGMA journal_mode").fetchone()
    assert names == {f"cell {n}" for n in range(6)}
    assert mode == ("wal",)


def _disk_full() -> Exception:
    from mlflow.exceptions import MlflowException

    return MlflowException("(sqlite3.OperationalError) database or disk is full")
