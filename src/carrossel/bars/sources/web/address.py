"""Addresses in params.yaml and in messages."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_USER = re.compile(r"//[^/@\s]+@")
_SECRET = re.compile(
    r"(?i)((?:key|token|secret|signature|password|passwd|auth|authorization|credential)s?[\"']?\s*[=:]\s*[\"']?(?:bearer |basic )?)"
    r"[^&\s\"',}]+"
)


def redact(text: str) -> str:
    """The text without user names and passwords in URLs and without values of parameters named like secrets."""
    return _SECRET.sub(r"\1***", _USER.sub("//***@", text))


def _base_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        local = parts.hostname in _LOCAL
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"this isn't a URL: {error}") from None
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
        raise ValueError("expected an https:// URL; http:// only for 127.0.0.1 and localhost")
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials don't belong into params.yaml; put them into ~/.netrc")
    if parts.query or parts.fragment:
        raise ValueError("expected scheme, host and path alone")
    return value.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_base_url), Field(examples=["https://www.bitstamp.net"])]
