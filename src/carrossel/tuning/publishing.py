"""A study's report, in its folder and on its tracked run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from carrossel.errors import StudyError
from carrossel.tuning.journal import open_journal
from carrossel.tuning.report.writing import write_report
from carrossel.tuning.study import best_trial

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import optuna

    from carrossel.recorder import OpenRun


def publish(study: optuna.Study, folder: Path, verdict: Mapping[str, Any] | None, open_run: OpenRun) -> None:
    """Write a study's report and log its figures and tables.

    Args:
        folder: is replaced.
        verdict: see `write_report`.
        open_run: opens the study's run, which goes on.
    """
    figures = write_report(study, folder, verdict)
    about = study.user_attrs
    tags = {"cell": about["cell"], "data_sha256": about["data_sha256"]}
    with open_journal(study, about["dataset"], about["cell"], tags, open_run) as journal:
        journal.summarise(study, figures, folder)


def known_verdict(study: optuna.Study, folder: Path) -> dict[str, Any] | None:
    """The verdict in a report's folder, if it is of these data and of what is the best configuration now."""
    try:
        verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
        best = best_trial(study).params
        same = verdict["data_sha256"] == study.user_attrs["data_sha256"] and best.items() <= verdict["best"].items()
    except (OSError, ValueError, KeyError, StudyError):
        return None
    return verdict if same else None
