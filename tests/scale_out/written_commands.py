"""The commands of docs/scale-out.md, run as they stand there; only the values of its variables are a test's own."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scale-out.md"
BLOCKS = dict(re.findall(r"^```sh ([\w.]+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE))
LOCAL = "127.0.0.1"


def variables(block):
    """Names that a file of settings sets."""
    return set(re.findall(r"^(\w+)=", BLOCKS[block], re.MULTILINE))


class Shell:
    """A person's shell on one machine: a file of settings is loaded before each block of the page.

    Args:
        settings: name of the file, which is one of the page's blocks.
        values: of variables that the page sets there; the others stay empty.
    """

    def __init__(self, folder, settings, values):
        assert set(values) <= variables(settings)
        self._settings = folder / settings
        lines = [f"{name}={shlex.quote(str(values.get(name, '')))}\n" for name in variables(settings)]
        self._settings.write_text("".join(lines))
        # The last one is left behind by any local cluster that an earlier test of this process started.
        mine = ("MLFLOW_", "AWS_", "PG", "CARROSSEL_", "DASK_", "GIT_", "DVC_", "MALLOC_TRIM_THRESHOLD_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
        self._environment = inherited | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "user.name",
            "GIT_CONFIG_VALUE_0": "tester",
            "GIT_CONFIG_KEY_1": "user.email",
            "GIT_CONFIG_VALUE_1": "tester@example.org",
            "CUDA_VISIBLE_DEVICES": "",
            "DVC_TEST": "true",  # neither analytics nor a look for updates
        }

    def _script(self, commands):
        return ["bash", "-euc", f"set -a; . {self._settings}; set +a\n{commands}"]

    def run(self, commands, folder, expect=0):
        """What a block, or plain commands, printed."""
        script = self._script(BLOCKS.get(commands, commands))
        with subprocess.Popen(
            script,
            cwd=folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as shell:
            try:
                said, _ = shell.communicate(timeout=240)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGKILL)
        assert shell.returncode == expect, said
        return said

    @contextmanager
    def serve(self, block, folder):
        """A block whose last command serves until the test ends it."""
        log = folder / f"{block}.log"
        with log.open("w") as out:
            server = subprocess.Popen(
                self._script(BLOCKS[block]),
                cwd=folder,
                env=self._environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            yield psutil.Process(server.pid)
        except BaseException:
            sys.stderr.write(log.read_text())
            raise
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind((LOCAL, 0))
        return listener.getsockname()[1]


def wait_until(ready, server):
    """Until a server is ready; fails if it dies instead."""
    while not ready():
        assert server.is_running(), "the server died"
        assert server.status() != psutil.STATUS_ZOMBIE, "the server died"
        time.sleep(0.1)


def answers(url):
    """A condition for `wait_until`."""

    def ready():
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - http, and our own server
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            return False
        return True

    return ready


def family(server):
    return [server, *server.children(recursive=True)]


def listening(server):
    """Addresses at which a server and its children wait for others."""
    found = [each.net_connections(kind="inet") for each in family(server)]
    return {one.laddr.ip for connections in found for one in connections if one.status == psutil.CONN_LISTEN}
