"""`carrossel policy` for one dataset: from bars to table, figure, tracked run and sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from carrossel.bars.store import read_bars
from carrossel.errors import TrainingError
from carrossel.files import sha256

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from carrossel.online.policy.plan import Plan
    from carrossel.recorder import OpenRun


def compare_policies(plan: Plan, root: Path, open_run: OpenRun) -> tuple[Table, list[str]]:
    """Backtest a dataset's policies on its stored bars, write reports/policy/D.csv and D.png, log a run.

    Returns:
        A table for the terminal, and sentences, the finding last.

    Raises:
        BarsError: if there are no bars.
        TrainingError: if a fit fails, or another process is at it; what is finished is kept.
        SeriesTooShort, ConfigError, ModelError: see `backtest.backtest` and `findings.find`.
    """
    from carrossel.online.drift import DriftMonitor
    from carrossel.online.policy.backtest import backtest
    from carrossel.online.policy.findings import conclude, find
    from carrossel.online.policy.reporting import log_findings, render_table, write_findings

    path = root / "data" / "bars" / f"{plan.dataset}.parquet"
    bars = read_bars(path)
    scratch = root / ".carrossel" / "policy" / plan.dataset
    lock = root / ".carrossel" / "locks" / f"policy@{plan.dataset}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    features = plan.question.windows.features
    try:
        with FileLock(lock, timeout=5):
            done = backtest(
                bars,
                plan,
                data_sha256=sha256(path),
                scratch=scratch,
                monitor=lambda: DriftMonitor(plan.drift, features),
            )
            findings = find(done)
            sentence = conclude(done, findings)
            reports = root / "reports" / "policy"
            write_findings(reports, done, findings)
            log_findings(open_run, reports, scratch / "runs", plan, done, findings, sentence)
    except Timeout:
        raise TrainingError(
            f"policy@{plan.dataset}: another process is at it (lock {lock}). Wait for it or end it, then run again."
        ) from None
    return render_table(done, findings), [*done.notes, sentence]
