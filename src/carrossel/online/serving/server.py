"""`carrossel serve`: the application on a port, until it is told to stop."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from carrossel.config import load_params, lookup
from carrossel.errors import ConfigError, ServingError
from carrossel.online.database import read_online
from carrossel.online.serving import COUNTS
from carrossel.tracking.config import tracking_root

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carrossel.online.champion import Champion
    from carrossel.online.config import Online, Serve

HOST = "127.0.0.1"


def serve(
    dataset: str | None = None,
    port: int | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    worker: bool = False,
) -> None:
    """Serve forecasts until interrupted or told to terminate; requests under way are answered first.

    Args:
        dataset: the only one to serve; every one of params.yaml if not given.
        port: in place of section `online.serve`'s.
        worker: answer beside the server that started this process, on the same port.

    Raises:
        ConfigError: if params.yaml isn't valid or has no such dataset.
        ServingError: if the address is taken, or open to others without a token.
    """
    params, online, root = load_params(), read_online(), tracking_root()
    settings = online.serve if port is None else online.serve.model_copy(update={"port": port})
    token = read_token(settings, environment)
    known = tuple(lookup("datasets", params))
    if dataset is not None and dataset not in known:
        raise ConfigError(f"datasets has no {dataset!r}; it has: {', '.join(known)}.")
    shared = worker or settings.workers > 1
    with ExitStack() as stack:
        if shared and not worker:
            listen(
                settings.host, settings.port
            ).close()  # a shared port alone wouldn't tell that another program has it
        listener = stack.enter_context(listen(settings.host, settings.port, shared=shared))
        if shared and not worker:
            _start_workers(stack, settings.workers - 1, dataset, listener.getsockname()[1], root)

        import uvicorn

        from carrossel.online.serving.app import create_app
        from carrossel.online.serving.models import ServedModels

        models = ServedModels(
            known if dataset is None else (dataset,), params, partial(_find, root=root, online=online)
        )
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(models, settings, token),
                http="httptools",
                loop="auto",  # uvloop where there is one
                ws="none",
                access_log=False,
                log_level="warning",
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=10,
            )
        )
        if not worker:
            print(f"forecasts: http://{settings.host}:{settings.port} (docs at /docs, end with Ctrl-C)", flush=True)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has stopped in good order, and raises what it caught again
            return


def _start_workers(stack: ExitStack, count: int, dataset: str | None, port: int, root: Path) -> None:
    """Processes that answer on the same port; the system deals out connections, and all of them count into one folder."""
    from carrossel.online import children

    os.environ[COUNTS] = stack.enter_context(TemporaryDirectory(prefix="carrossel-metrics-"))
    stack.callback(os.environ.pop, COUNTS)
    which = [] if dataset is None else ["--dataset", dataset]
    for _ in range(count):
        child = children.start("carrossel", ["serve", "--worker", "--port", str(port), *which], root)
        stack.callback(children.stop, child)


def read_token(settings: Serve, environment: Mapping[str, str]) -> str | None:
    """The bearer token, or None for a server that only this machine reaches.

    Raises:
        ServingError: if other machines could reach a server without one, or it isn't printable ASCII.
    """
    token = environment.get(settings.token_variable) or None
    if token is None and settings.host != HOST:
        raise ServingError(
            f"online.serve.host = {settings.host!r} is open to other machines: set {settings.token_variable} to a "
            f"token, or take {HOST}."
        )
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise ServingError(f"{settings.token_variable} must be printable ASCII without blanks, as an HTTP header is.")
    return token


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that takes connections.

    Args:
        shared: with other processes of the same user that say so too.

    Raises:
        ServingError: if the address is taken or isn't this machine's.
    """
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ServingError(f"port {port} of {host}: {error.strerror}. End what uses it, or name another.") from None
    return listener


def _find(dataset: str, *, root: Path, online: Online) -> Champion:
    import pandas as pd

    from carrossel.online.champion import find_champion

    return find_champion(dataset, root, expires=online.champion.expires, now=pd.Timestamp.now("UTC"))
