"""The server's application: routes, limits, and the task that follows the champion."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.requests import Request  # noqa: TC002 - FastAPI reads annotations at run time
from starlette.responses import Response
from starlette.routing import Route

import carrossel
from carrossel.online.serving.answering import Forecasting, Guard, json_response
from carrossel.online.serving.metrics import Metrics
from carrossel.online.serving.page import draw
from carrossel.online.serving.schema import describe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from carrossel.online.config import Serve
    from carrossel.online.serving.models import ServedModels


def create_app(models: ServedModels, settings: Serve, token: str | None = None) -> FastAPI:
    """The application.

    Args:
        models: what serves; refreshed by the application every `refresh_seconds`, in a thread.
        token: bearer token that every request but `GET /health` must carry; None for none.
    """
    metrics, refreshed = Metrics(), [""]

    def refresh() -> None:
        models.refresh()
        metrics.refresh(models.all())
        refreshed[0] = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")

    async def follow() -> None:
        while True:
            await asyncio.sleep(settings.refresh_seconds)
            await asyncio.to_thread(refresh)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(refresh)  # the first answer is already the champion's
        following = asyncio.create_task(follow())
        yield
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following

    app = FastAPI(
        title="carrossel",
        version=carrossel.__version__,
        description="Raw bars in, forecast and interval out, by each dataset's champion.",
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )

    def champion(_request: Request) -> Response:
        return json_response([each.describe() for each in models.all().values()])

    def health(_request: Request) -> Response:
        problems = [each.problem for each in models.all().values() if each.problem is not None]
        status = "degraded" if problems else "ok"
        return json_response({"status": status, "problems": problems, "refreshed": refreshed[0] or None})

    def page(_request: Request) -> Response:
        return Response(draw(app.openapi()), media_type="text/html")

    def tell(_request: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    answering = Forecasting(models, settings, metrics)
    app.router.routes.append(Route("/forecast", answering, methods=["POST"]))
    app.add_route("/champion", champion)
    app.add_route("/health", health)
    app.add_route("/metrics", tell)
    app.add_route("/docs", page)
    description = describe(
        app.title, app.version, app.description, models.datasets, settings.most_bars, guarded=token is not None
    )
    app.openapi = lambda: description  # type: ignore[method-assign]  # FastAPI's way to give a description of one's own
    app.add_middleware(Guard, forecasting=answering, token=token)
    return app
