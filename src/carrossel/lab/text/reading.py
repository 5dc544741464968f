"""Which text: a file of the user's, or the one that comes with Python."""

from __future__ import annotations

import codecs
import importlib
import io
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from carrossel.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SHORTEST = 50
_WIDEST = 4  # bytes of a character in UTF-8, at most


def read_text(file: str | None, root: Path, longest: int) -> tuple[str, str]:
    """The text and what it is called.

    Args:
        file: see `Text.file`.
        root: what a relative path starts from.
        longest: characters that are still taken.

    Raises:
        ConfigError: if the file is missing, empty, too short, too long, or isn't UTF-8.
    """
    if file is None:
        return zen(), "The Zen of Python"
    path = root / file
    name = f"lab.text.file = {file!r}"
    if not path.is_file():
        raise ConfigError(f"{name}: {path} isn't a file. Name a text file, or null for the text of Python's `this`.")
    size = path.stat().st_size
    if size > _WIDEST * longest:  # before a huge file is read
        raise ConfigError(_too_long(name, f"{size:,} bytes", longest))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: isn't UTF-8 at byte {error.start}. Save it as UTF-8.") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(text) > longest:
        raise ConfigError(_too_long(name, f"{len(text):,} characters", longest))
    if len(text) < SHORTEST:
        found = f"has {len(text)} characters" if text else "is empty"
        raise ConfigError(f"{name}: {found}; a character model needs at least {SHORTEST}. Name a longer text.")
    return text, path.name


def zen() -> str:
    """The aphorisms of Tim Peters (2004), in the public domain, as module `this` keeps them: in ROT13."""
    with redirect_stdout(io.StringIO()):  # the module prints them when it is first imported
        module = importlib.import_module("this")
    return codecs.decode(str(module.s), "rot13")


def _too_long(name: str, found: str, longest: int) -> str:
    return f"{name}: has {found}, lab.text.longest = {longest:,} characters. Cut the file, or raise lab.text.longest."
