"""Stage exams: every candidate sits every exam; leaves reports/lab/exams.csv and reports/lab/exam_curves.csv."""

from __future__ import annotations

import sys

from carrossel.config import load_params, project_root
from carrossel.lab.exams.sitting.plan import read_plan
from carrossel.lab.exams.sitting.running import hold_exams
from carrossel.stage import run


def sit() -> None:
    """Read section lab.exams, and from lab where tasks run; write how every sitting ended."""
    root = project_root()
    hold_exams(
        read_plan(load_params()),
        scratch=root / ".carrossel" / "exams",
        table=root / "reports" / "lab" / "exams.csv",
        curves=root / "reports" / "lab" / "exam_curves.csv",
    )


if __name__ == "__main__":
    run(sit, *sys.argv[1:], name="exams")
