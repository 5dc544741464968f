"""The API on one page, drawn from its OpenAPI description: no script, nothing from elsewhere."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ info.title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: #f4f4f4; border-radius: 4px }
code { padding: .1em .3em } pre { padding: .8em; overflow: auto }
h2 code { background: #e3ecf7 } td, th { text-align: left; padding: .2em 1em .2em 0; vertical-align: top }
</style>
<h1>{{ info.title }} {{ info.version }}</h1>
<p>{{ info.description }} The same for programs: <a href="openapi.json">openapi.json</a>.</p>
{% for path, methods in paths.items() %}{% for method, operation in methods.items() %}
<h2><code>{{ method.upper() }} {{ path }}</code> {{ operation.summary }}</h2>
<p>{{ operation.description }}</p>
{% if operation.requestBody %}<details><summary>Request</summary><pre>{{ show(operation.requestBody) }}</pre></details>{% endif %}
<table><tr><th>status</th><th>meaning</th></tr>
{% for status, answer in operation.responses.items() %}<tr><td>{{ status }}</td><td>{{ answer.description }}</td></tr>
{% endfor %}</table>
{% if "200" in operation.responses %}
<details><summary>Answer</summary><pre>{{ show(operation.responses["200"]) }}</pre></details>{% endif %}
{% endfor %}{% endfor %}
</html>
"""


def draw(openapi: dict[str, Any]) -> str:
    """The page as HTML."""
    template = Environment(autoescape=True).from_string(_PAGE)
    return template.render(info=openapi["info"], paths=openapi["paths"], show=_show)


def _show(part: dict[str, Any]) -> str:
    contents: dict[str, dict[str, Any]] = part.get("content", {})
    schema: dict[str, Any] = next((each.get("schema", {}) for each in contents.values()), {})
    return json.dumps(schema, indent=2, ensure_ascii=False)
