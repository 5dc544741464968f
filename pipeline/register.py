"""Stage register@D: the best model by validation goes into the MLflow registry; the gate decides whether it is champion."""

from __future__ import annotations

import sys

from carrossel.config import project_root
from carrossel.errors import BarsError, StoreError, TrackingError
from carrossel.files import write_json
from carrossel.online.promotion import complete
from carrossel.stage import run
from carrossel.tracking.registry import describe, read_choice


def register(dataset: str) -> None:
    """Choose, write what it deserves, register; without server, ledger or bars `carrossel track` registers later."""
    root = project_root()
    choice = read_choice(dataset, root)
    deserved = describe(choice, root)
    print(f"{dataset}: {choice.reason}")
    try:
        outcome = complete(dataset, root=root, actor=f"register@{dataset}")
        print(f"{dataset}: {outcome.reason}")
    except (BarsError, StoreError, TrackingError) as error:
        print(f"{dataset}: registration is pending: {error} Then run: carrossel track", file=sys.stderr)
    write_json(root / "reports" / "registered" / f"{dataset}.json", deserved)


if __name__ == "__main__":
    run(register, *sys.argv[1:], name="@".join(["register", *sys.argv[1:]]))
