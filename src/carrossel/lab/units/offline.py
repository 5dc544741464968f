"""Pages that work from a file, without a network: data and script inside, and nothing else may run."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from carrossel.evaluation.layout import render_html

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def render_page(room: str, name: str, data: dict[str, Any], **values: Any) -> str:
    """Fill `name`.html of a package with `name`.js of the same package and with data.

    All text is escaped, and the data's `<`, `>`, `&` and `'` too, so that no text in it can end its script element. The page's
    policy lets this very script run, by its digest, and no other.

    Args:
        room: dotted name of the package.
        data: what the script reads, as JSON: finite numbers alone.
        values: what the template asks for.

    Raises:
        ValueError: if the data hold NaN or infinity, which aren't JSON.
    """
    script = resources.files(room).joinpath(f"{name}.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    # The digest is of the script as it stands in the page; it is this package's own file.
    return render_html(room, f"{name}.html", data=data, script=Markup(script), digest=digest, **values)  # noqa: S704 - our own script, no input


def pack(values: NDArray[np.generic], kind: str) -> str:
    """An array's bytes in base64, for a typed array of JavaScript.

    Args:
        kind: numpy's name, little-endian, such as `<i2` or `u1`.
    """
    return base64.b64encode(values.astype(kind).tobytes()).decode("ascii")
