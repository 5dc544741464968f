"""Libraries that only some sources need."""

from __future__ import annotations

import importlib
from typing import Any

from carrossel.errors import SourceError


def require(module: str, kind: str) -> Any:
    """Import an optional library; its extra is named after the source's kind.

    Raises:
        SourceError: with the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SourceError(
            f"source {kind} needs {module}, which can't be imported ({error}). Run: pip install 'carrossel[{kind}]'"
        ) from None
