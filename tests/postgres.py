"""A PostgreSQL of the tests' own; skips where none is installed."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@contextmanager
def running_cluster():
    """URL of a cluster on a socket in a folder of its own, gone afterwards."""
    if not BINARIES:
        pytest.skip("PostgreSQL isn't installed (Debian: apt install postgresql)")
    # Root, as whom the server refuses to run, keeps pytest's folders closed to others.
    with tempfile.TemporaryDirectory(prefix="carrossel-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        other = {"user": "nobody"} if os.geteuid() == 0 else {}
        if other:
            shutil.chown(home, "nobody")

        def call(command, *arguments):
            call_it = [BINARIES[-1].with_name(command), "-D", home / "data", *arguments]
            subprocess.run(call_it, check=True, cwd=home, stdout=subprocess.DEVNULL, timeout=60, **other)

        call("initdb", "-A", "trust", "-U", "tester", "--no-sync", "--no-locale", "-E", "UTF8")
        options = f"-c listen_addresses='' -c unix_socket_directories='{home}' -c fsync=off"
        call("pg_ctl", "-w", "-l", home / "log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://tester@/postgres?host={home}"
        finally:
            call("pg_ctl", "-m", "immediate", "stop")
