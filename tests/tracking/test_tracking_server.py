from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from carrossel.errors import TrackingError
from carrossel.tracking.mlflow_recorder import open_run
from carrossel.tracking.relog import sync
from carrossel.tracking.store import open_tracking
from carrossel.tracking.ui import serve_ui

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("plain_figures")
def test_a_real_server_keeps_runs_and_its_death_ends_no_training(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "carrossel.tracking.ui", str(port)],
        env={**os.environ, "CARROSSEL_ROOT": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health")
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
        assert b"<title>MLflow</title>" in page
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        (logged,) = sync(tmp_path / "models")
        store = open_tracking()
        run = store.client.get_run(logged.run_id)
        assert run.info.status == "FINISHED"
        assert run.info.artifact_uri.startswith("mlflow-artifacts:")
        assert "figures" in [file.path for file in store.client.list_artifacts(logged.run_id)]
        assert capfd.readouterr() == ("", "")
        with open_run("bitcoin", "gru", key="k", store=store) as recorder:
            recorder.metrics({"loss": 2.0}, step=0)
            server.kill()
            server.wait()
            recorder.metrics({"loss": 1.0}, step=1)
            recorder.metrics({"loss": 0.5}, step=2)
        said = [line for line in "".join(capfd.readouterr()).splitlines() if line]
        assert len(said) == 1
        assert f"tracking server http://127.0.0.1:{port} doesn't answer" in said[0]
    finally:
        server.kill()
        server.wait()


def test_a_taken_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(TrackingError, match=rf"port {port} of 127\.0\.0\.1: Address already in use"):
            serve_ui(port)


def test_the_ui_of_a_remote_store_is_the_servers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:pw@host:5000")
    with pytest.raises(TrackingError, match=r"the runs are on the server http://\*\*\*@host:5000"):
        serve_ui()


def _wait_for(url: str) -> None:
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - http, and our own server
        except OSError:
            time.sleep(0.05)
        else:
            return
