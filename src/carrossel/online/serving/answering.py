"""A forecast asked for over HTTP: token, limits, body, answer, without a layer that it doesn't need."""

from __future__ import annotations

import hmac
import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response

from carrossel.online.serving.reading import Refused, read_query

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from carrossel.online.config import Serve
    from carrossel.online.serving.metrics import Metrics
    from carrossel.online.serving.models import ServedModels

_log = logging.getLogger(__name__)


class Guard:
    """Lets requests with the token pass, and `GET /health`.

    A forecast doesn't go on through FastAPI, whose layers cost as much as all the rest of it.
    """

    def __init__(self, app: ASGIApp, forecasting: ASGIApp, token: str | None) -> None:
        self.app, self.forecasting = app, forecasting
        self._expected = None if token is None else b"Bearer " + token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self._expected is not None and scope["path"] != "/health" and not self._knows(scope):
            answer = json_response({"detail": "a bearer token is needed: Authorization: Bearer <token>."}, 401)
            answer.headers["WWW-Authenticate"] = "Bearer"
            await answer(scope, receive, send)
        elif scope["path"] == "/forecast" and scope["method"] == "POST":
            await self.forecasting(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._expected or b"")


class Forecasting:
    """`POST /forecast`."""

    def __init__(self, models: ServedModels, settings: Serve, metrics: Metrics) -> None:
        self.models, self.settings, self.metrics = models, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started: float | None = None
        dataset, status = "", 200
        try:
            whole = await _read_body(scope, receive, self.settings.largest_body)
            started = perf_counter()  # how long a client takes to send it says nothing of the server
            query = read_query(whole, self.settings.most_bars)
            dataset = _choose(query.dataset, self.models)
            body = orjson.dumps(self.models[dataset].answer(query.bars))
        except Refused as refusal:
            status, body = refusal.status, orjson.dumps({"detail": str(refusal)})
        except _Gone:
            return
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer and the log the cause
            _log.exception("a forecast of %s failed", dataset or "no dataset")
            status, body = 500, orjson.dumps({"detail": "the forecast failed; the server's log says why."})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self.metrics.count(dataset, status, None if started is None else perf_counter() - started)


class _Gone(Exception):
    """The client went away before its request was whole."""


async def _read_body(scope: Scope, receive: Receive, largest: int) -> bytes:
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"")
    if kind != b"application/json" and kind.partition(b";")[0].strip().lower() != b"application/json":
        raise Refused(415, "Content-Type must be application/json.")
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length[:18]) > largest:
        raise Refused(413, f"the body has {int(length[:18])} bytes; at most {largest} are taken.")
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        part = message.get("body", b"")
        size += len(part)
        if size > largest:
            raise Refused(413, f"the body has more than {largest} bytes.")
        parts.append(part)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _choose(dataset: str | None, models: ServedModels) -> str:
    if dataset is None:
        if len(models.datasets) > 1:
            raise Refused(422, f"dataset is missing; one of: {', '.join(models.datasets)}.")
        return models.datasets[0]
    if dataset not in models.datasets:
        raise Refused(404, f"dataset {dataset[:40]!r} isn't served; one of: {', '.join(models.datasets)}.")
    return dataset


def json_response(value: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(orjson.dumps(value), status, media_type="application/json")
