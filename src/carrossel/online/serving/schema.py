"""What OpenAPI says of the requests and answers."""

from __future__ import annotations

from typing import Any

from carrossel.targets.base import QUANTILES, quantile_column
from carrossel.windows.columns import NUMERIC

_PRICES = ("open", "high", "low", "close")
_STAMP = {"type": "string", "format": "date-time"}
_PRICE = {"type": "number", "exclusiveMinimum": 0}
_AMOUNT = {"type": ["number", "null"], "minimum": 0}
_TEXT = {"type": "string"}
_MAYBE_TEXT = {"type": ["string", "null"]}


def _bar_columns(most_bars: int) -> dict[str, Any]:
    def column(values: dict[str, Any]) -> dict[str, Any]:
        return {"type": "array", "items": values, "minItems": 1, "maxItems": most_bars}

    return {
        "type": "object",
        "description": "Columns of equal length, oldest bar first, each timestamp once.",
        "properties": {
            "timestamp": column(_STAMP),
            **{name: column(_PRICE) for name in _PRICES},
            **{name: column(_AMOUNT) for name in NUMERIC[4:]},
        },
        "required": ["timestamp", *_PRICES],
        "additionalProperties": False,
    }


def _bar_rows(most_bars: int) -> dict[str, Any]:
    bar = {
        "type": "object",
        "properties": {
            "timestamp": _STAMP,
            **dict.fromkeys(_PRICES, _PRICE),
            **dict.fromkeys(NUMERIC[4:], _AMOUNT),
        },
        "required": ["timestamp", *_PRICES],
        "additionalProperties": False,
    }
    return {"type": "array", "description": "One object per bar.", "items": bar, "minItems": 1, "maxItems": most_bars}


def request_schema(datasets: tuple[str, ...], most_bars: int) -> dict[str, Any]:
    """Of `POST /forecast`."""
    return {
        "type": "object",
        "properties": {
            "dataset": {
                "type": ["string", "null"],
                "enum": [*datasets, None],
                "description": "May be left out if there is one.",
            },
            "bars": {"oneOf": [_bar_columns(most_bars), _bar_rows(most_bars)]},
        },
        "required": ["bars"] if len(datasets) == 1 else ["bars", "dataset"],
        "additionalProperties": False,
    }


FORECAST: dict[str, Any] = {
    "type": "object",
    "properties": {
        "dataset": _TEXT,
        "serves": {"enum": ["champion", "persistence"]},
        "version": {**_MAYBE_TEXT, "description": "Of the registered model; null with persistence."},
        "reason": {**_TEXT, "description": "Why this one serves."},
        "origin": {**_STAMP, "description": "Timestamp of the newest bar."},
        "last_close": _PRICE,
        "unit": {"enum": ["price", "log_variance", "probability"]},
        "level": {"type": ["number", "null"], "description": "Share of truths that lower … upper should hold."},
        "forecasts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "horizon": {"type": "integer", "description": "Bars after the newest."},
                    "forecast": {"type": "number"},
                    "lower": {"type": "number"},
                    "upper": {"type": "number"},
                    **{quantile_column(level): {"type": "number"} for level in QUANTILES},
                },
                "required": ["horizon", "forecast"],
            },
        },
    },
    "required": ["dataset", "serves", "version", "reason", "origin", "last_close", "unit", "level", "forecasts"],
}

CHAMPION: dict[str, Any] = {
    "type": "object",
    "properties": {
        "dataset": _TEXT,
        "serves": {"enum": ["champion", "persistence"]},
        "version": _MAYBE_TEXT,
        "competitor": _MAYBE_TEXT,
        "reason": _TEXT,
        "problem": {**_MAYBE_TEXT, "description": "Why what serves isn't what the alias names."},
        "bars_needed": {"type": "integer"},
        "columns": {"type": "array", "items": _TEXT},
        "trained_until": _MAYBE_TEXT,
    },
    "required": ["dataset", "serves", "version", "reason", "problem", "bars_needed", "columns"],
}

HEALTH: dict[str, Any] = {
    "type": "object",
    "properties": {
        "status": {
            "enum": ["ok", "degraded"],
            "description": "degraded: it answers, but not as the aliases ask it to.",
        },
        "problems": {"type": "array", "items": _TEXT},
        "refreshed": {**_MAYBE_TEXT, "description": "When the aliases were last looked at."},
    },
    "required": ["status", "problems", "refreshed"],
}

ERROR: dict[str, Any] = {"type": "object", "properties": {"detail": _TEXT}, "required": ["detail"]}


def content(schema: dict[str, Any], description: str) -> dict[str, Any]:
    """An answer in JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_REFUSALS = {
    "401": content(ERROR, "The token is missing or wrong."),
    "404": content(ERROR, "No such dataset is served."),
    "413": content(ERROR, "The body is too large."),
    "415": content(ERROR, "The body isn't said to be application/json."),
    "422": content(ERROR, "The body can't be forecast from; `detail` says why."),
    "500": content(ERROR, "The forecast failed; the server's log says why."),
}


_LONG = (
    "`bars` are raw bars, oldest first, as columns or as a list of objects; `GET /champion` says how many are needed. "
    "Without a champion, persistence answers: tomorrow as today, without an interval."
)


def describe(
    title: str, version: str, description: str, datasets: tuple[str, ...], most_bars: int, *, guarded: bool
) -> dict[str, Any]:
    """The whole API in OpenAPI's terms.

    Args:
        guarded: whether requests need a token.
    """
    body = {
        "required": True,
        "content": {"application/json": {"schema": request_schema(datasets, most_bars)}},
    }
    own, list_of = _operation, {"type": "array", "items": CHAMPION}
    refusals = _REFUSALS if guarded else {key: value for key, value in _REFUSALS.items() if key != "401"}
    denied = {"401": refusals["401"]} if guarded else {}
    text = {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "paths": {
            "/forecast": {
                "post": {
                    **own("forecast", "Forecast what comes after the newest bar.", _LONG),
                    "requestBody": body,
                    "responses": {"200": content(FORECAST, "The forecast."), **refusals},
                }
            },
            "/champion": {
                "get": {
                    **own("champion", "Who serves each dataset, and why."),
                    "responses": {"200": content(list_of, "One entry per dataset."), **denied},
                }
            },
            "/health": {
                "get": {
                    **own("health", "Whether it serves what the aliases ask for."),
                    "responses": {"200": content(HEALTH, "It serves.")},
                }
            },
            "/metrics": {"get": {**own("metrics", "Counts and times."), "responses": {"200": text, **denied}}},
        },
    }
    if guarded:
        described["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
        for path, methods in described["paths"].items():
            for operation in methods.values():
                operation["security"] = [] if path == "/health" else [{"token": []}]
    return described


def _operation(name: str, summary: str, description: str = "") -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "description": description}
