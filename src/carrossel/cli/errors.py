"""How a command fails: one line on stderr and status 1, no traceback for what a user can mend."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from carrossel.errors import CarrosselError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with status 1 and a line that says what to do."""
    try:
        yield
    except CarrosselError as error:
        _fail(" ".join(str(error).split()))
    except OSError as error:
        if error.errno is None or error.filename is None:
            raise
        _fail(f"{error.strerror}: {error.filename}. Nothing was replaced; mend it and run again.")


def _fail(line: str) -> None:
    typer.echo(f"carrossel: {line}", err=True)
    raise typer.Exit(1) from None
