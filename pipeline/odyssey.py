"""odyssey: random trials of every cell on one dataset, and what they tell; leaves reports/odyssey/."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carrossel.bars.store import read_bars
from carrossel.config import load_params, project_root
from carrossel.files import sha256
from carrossel.stage import run
from carrossel.tracking.results import log_odyssey
from carrossel.tracking.session import Session
from carrossel.tuning.odyssey.page import write_report
from carrossel.tuning.odyssey.plan import read_odyssey, read_plan
from carrossel.tuning.odyssey.running import run_odyssey
from carrossel.tuning.progress import make_progress

if TYPE_CHECKING:
    import pandas as pd

    from carrossel.recorder import Recorder
    from carrossel.tuning.odyssey.page import Report


def sail() -> None:
    """Read section odyssey, the cells it names, windows, target, head and training; run what is missing, then write."""
    root = project_root()
    params = load_params()
    path = root / "data" / "bars" / f"{read_odyssey(params).dataset}.parquet"
    plan = read_plan(params, sha256(path))

    def finish(run: Recorder, trials: pd.DataFrame) -> Report:
        report = write_report(root / "reports" / "odyssey", plan.config, run, trials)
        log_odyssey(run, root)
        return report

    with make_progress() as progress:
        report = run_odyssey(plan, read_bars(path), root, open_run=Session(), progress=progress, finish=finish)
    for sentence in report.headlines:
        print(sentence)


if __name__ == "__main__":
    run(sail, *sys.argv[1:], name="odyssey")
