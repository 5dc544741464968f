"""What pages of results share: head, style, and how a room's template becomes one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def render_html(
    room: str, name: str, filters: Mapping[str, Callable[[Any], str]] | None = None, /, **values: Any
) -> str:
    """A page as HTML, the same for the same values; all text is escaped.

    Args:
        room: dotted name of the package with the template.
        name: of its file, which may extend `layout.html` with blocks `title`, `style` and `body`.
        filters: further ones than `curly`, which sets the quotation marks of “tomorrow = today”.
        values: what the template asks for; what it writes as JSON must be finite.

    Raises:
        ValueError: if a number that is to be JSON is NaN or infinite.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(room, "."), PackageLoader(__name__, ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"curly": _curl, **(filters or {})}
    return environment.get_template(name).render(**values)


def embed(image: bytes, kind: Literal["png", "svg+xml"] = "png") -> str:
    """An image as the address of an `img` element."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"


def _curl(text: str) -> str:
    return text.replace("'tomorrow = today'", "“tomorrow = today”")
