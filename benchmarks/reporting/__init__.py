"""What every benchmark prints and keeps: lines as they come, the machine, a page in benchmarks/results."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
from pathlib import Path

from carrossel.files import write_text

RESULTS = Path(__file__).resolve().parents[1] / "results"


class Report:
    """Prints each line at once and keeps it.

    Args:
        name: the benchmark's.
        packages: whose versions matter to the figures.
    """

    def __init__(self, name: str, *packages: str) -> None:
        self.name, self.lines = name, []
        self.machine = describe_machine(*packages)
        print(self.machine)

    def __call__(self, line: str = "") -> None:
        print(line, flush=True)
        self.lines.append(line)

    def write(self, notes: str = "") -> None:
        """Keep the lines as benchmarks/results/<name>.md.

        Args:
            notes: Markdown that follows them.
        """
        body = "\n".join(self.lines).strip("\n")
        page = f"# {self.name}\n\n{self.machine}\n\n```\n{body}\n```\n"
        write_text(RESULTS / f"{self.name}.md", page + (f"\n{notes}" if notes else ""))


def say_not_run(name: str, files: str) -> None:
    """What a benchmark on files of one's own says where it gets none.

    Args:
        files: what their folder must hold.
    """
    print(f"{name}: not run; it takes --data FOLDER with {files}")


def describe_machine(*packages: str) -> str:
    """Date, processor, cores, Python and versions in one line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    versions = "".join(f", {name} {importlib.metadata.version(name)}" for name in packages)
    today = dt.datetime.now(dt.UTC).date()
    return f"{today}, {model}, {os.cpu_count()} cores, CPython {platform.python_version()}{versions}"
