"""What a backtest leaves: a table and a figure, a run in the tracking store, a table for the terminal."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from carrossel.evaluation.figures import save_png
from carrossel.evaluation.verdicts import format_p, format_skill
from carrossel.files import replacing, write_text
from carrossel.online.policy.figures import draw_policies
from carrossel.online.policy.findings import tabulate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table

    from carrossel.online.policy.backtest import Backtest
    from carrossel.online.policy.findings import Finding
    from carrossel.online.policy.plan import Plan
    from carrossel.recorder import OpenRun

RUN_NAME = "policy"


def write_findings(folder: Path, backtest: Backtest, findings: Sequence[Finding]) -> None:
    """Write `D.csv` and `D.png`."""
    with replacing(folder / f"{backtest.dataset}.csv") as temporary:
        tabulate(findings).to_csv(temporary, index=False)
    title = f"{backtest.dataset}: retraining policies for {backtest.model}; marks with their 95 % intervals"
    save_png(draw_policies(findings, title), folder / f"{backtest.dataset}.png")


def log_findings(
    open_run: OpenRun,
    reports: Path,
    notes: Path,
    plan: Plan,
    backtest: Backtest,
    findings: Sequence[Finding],
    sentence: str,
) -> None:
    """Log the written findings as a run named `policy`; the same backtest goes on in the same run.

    Args:
        reports: folder that `write_findings` wrote to.
        notes: folder that keeps the run's id.
    """
    asked = f"{plan.policy.model_dump_json()}{plan.drift.model_dump_json()}"
    digest = hashlib.sha256(f"{backtest.key}{asked}".encode()).hexdigest()
    note = notes / f"run-{digest[:24]}"
    with open_run(
        backtest.dataset,
        RUN_NAME,
        key=f"policy/{digest}",
        tags={"model": backtest.model, "finding": sentence},
        resume_run_id=note.read_text(encoding="utf-8") if note.is_file() else None,
    ) as recorder:
        if recorder.run_id:
            write_text(note, recorder.run_id)
        knobs = plan.policy.model_dump(mode="json") | plan.drift.model_dump(mode="json")
        recorder.params({name: ", ".join(value) if isinstance(value, list) else value for name, value in knobs.items()})
        for found in findings:
            values = {"fits": float(found.fits), "cpu_seconds": found.cpu_seconds, "skill": found.skill.skill}
            gain = {"gain": found.value, "p_corrected": found.gain.p_corrected} if found.gain else {}
            recorder.metrics({f"{found.policy.name}/{name}": value for name, value in (values | gain).items()})
        for suffix in ("csv", "png"):
            recorder.artifact(reports / f"{backtest.dataset}.{suffix}")


def render_table(backtest: Backtest, findings: Sequence[Finding]) -> Table:
    """The findings for a terminal of 80 columns: the gain's interval is in `D.csv`."""
    from rich.table import Table

    title = f"{backtest.dataset}: policies for {backtest.model} on {findings[0].rows:,} forecasts"
    table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False)
    table.add_column("policy", no_wrap=True)
    for heading in ("fits", "CPU s", "skill", "95 % interval", "vs never", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for found in findings:
        gain = found.gain
        table.add_row(
            found.policy.name,
            f"{found.fits}",
            f"{found.cpu_seconds:.2f}" if found.cpu_seconds < 10 else f"{found.cpu_seconds:,.0f}",  # noqa: PLR2004 - digits
            format_skill(found.skill.skill),
            f"{format_skill(found.skill.lower)} to {format_skill(found.skill.upper)}",
            *((format_skill(found.value), format_p(gain.p_corrected).removeprefix("p = ")) if gain else ()),
        )
    return table
