"""Other libraries in environments of their own: how they are installed, and the process that answers for each.

The scripts beside this file run in those environments; they import `measuring`, never this.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from carrossel.files import write_text

SCRIPTS = Path(__file__).resolve().parent
ENVIRONMENTS = SCRIPTS.parents[1] / ".carrossel" / "peers"

COMMON = ("torch==2.13.0", "pytorch-lightning==2.6.6", "numpy==2.4.6", "pandas==3.1.1")
PINS = {
    "neuralforecast": (*COMMON, "neuralforecast==3.3.0"),
    "darts": (*COMMON, "darts[torch]==0.48.1"),
}


class Runner:
    """A library's process, which answers one line of JSON with another.

    Args:
        name: the library's.
        script: in this folder.
        python: of the library's environment.
        folder: where the process runs; what libraries leave behind goes there.

    Attributes:
        versions: what the process says of itself at first.
    """

    def __init__(self, name: str, script: str, python: Path, folder: Path) -> None:
        self.name, self.errors = name, folder / f"{name}.txt"
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [python, SCRIPTS / script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=folder,
                env=os.environ | threads | {"RAY_USAGE_STATS_ENABLED": "0"},
            )

    def read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} stopped:\n{self.errors.read_text()[-3000:]}")
        return json.loads(line)

    def ask(self, task: dict[str, Any]) -> dict[str, Any]:
        print(json.dumps(task), file=self.process.stdin, flush=True)
        return self.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()


def python_of(peer: str) -> Path:
    return ENVIRONMENTS / peer / "bin" / "python"


def is_ready(peer: str) -> bool:
    marker = ENVIRONMENTS / peer / "installed.txt"
    return marker.is_file() and marker.read_text() == "\n".join(PINS[peer])


def install(peer: str) -> None:
    """Make a peer's environment, anew if its pins have changed."""
    folder = ENVIRONMENTS / peer
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {peer} into {folder} (once; minutes)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python_of(peer), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for packages in (
        PINS[peer][:1],
        PINS[peer],
    ):  # torch by itself first: what is installed isn't replaced by a CUDA build
        done = subprocess.run([*pip, *packages], check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"pip couldn't install {', '.join(packages)}:\n{done.stderr[-3000:]}")
    write_text(folder / "installed.txt", "\n".join(PINS[peer]))
