"""MLflow's pages for the project's own runs, on this machine alone."""

from __future__ import annotations

import gc
import os
import socket
import sys
import warnings
from urllib.parse import urlsplit

from carrossel.errors import TrackingError
from carrossel.tracking.config import read_tracking, redact, tracking_root
from carrossel.tracking.store import open_tracking

HOST = "127.0.0.1"
PORT = 5000


def serve_ui(port: int = PORT) -> None:
    """Serve MLflow's pages on 127.0.0.1 until interrupted; programs can log to the same address.

    `mlflow server` starts Python twice, and a job runner beside it, which takes two to three times as long; this starts
    the same application in this process. The variables are what that command hands to its workers.

    Args:
        port: TCP port.

    Raises:
        TrackingError: if the runs are on a server, which has pages of its own, the database can't be used, or the port
            is taken.
    """
    root = tracking_root()
    settings = read_tracking()
    uri = settings.resolve(root)
    if urlsplit(uri).scheme in {"http", "https"}:
        raise TrackingError(f"the runs are on the server {redact(uri, uri)}: open that address.")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise TrackingError(
                f"port {port} of {HOST}: {error.strerror}. End what uses it, or name another."
            ) from None
    gc.disable()  # nothing of 2,800 modules is garbage: looking for some takes a sixth of the start
    open_tracking(settings, root)  # makes the tables of a fresh file before anything else can meet it
    os.environ.update(
        {
            "_MLFLOW_SERVER_FILE_STORE": uri,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (root / "mlruns").as_uri(),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SGI_NAME": "uvicorn",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about MLflow's own imports
        import uvicorn
        from mlflow.server.fastapi_app import app
    gc.enable()
    print(f"MLflow: http://{HOST}:{port} (end with Ctrl-C)", flush=True)
    uvicorn.run(app, host=HOST, port=port, log_level="warning")


if __name__ == "__main__":
    try:
        serve_ui(*map(int, sys.argv[1:2]))
    except TrackingError as error:
        sys.exit(str(error))
