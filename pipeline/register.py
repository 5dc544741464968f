"""Stage register@D: the best model by validation goes into the MLflow registry, as champion or challenger, and why."""

from __future__ import annotations

import sys

from carrossel.config import project_root
from carrossel.errors import TrackingError
from carrossel.files import write_json
from carrossel.stage import run
from carrossel.tracking.registry import complete_registration, describe, read_choice


def register(dataset: str) -> None:
    """Choose, register, write what was decided; without a server `carrossel track` registers later."""
    root = project_root()
    choice = read_choice(dataset, root)
    decision = describe(choice, root)
    print(f"{dataset}: {choice.reason}")
    try:
        version = complete_registration(dataset, root=root)
        print(f"{dataset}: {version.model} version {version.version} is {version.alias}.")
    except TrackingError as error:
        print(f"{dataset}: registration is pending: {error}", file=sys.stderr)
    write_json(root / "reports" / "registered" / f"{dataset}.json", decision)


if __name__ == "__main__":
    run(register, *sys.argv[1:], name="@".join(["register", *sys.argv[1:]]))
