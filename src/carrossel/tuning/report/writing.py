"""The folder of a study's report."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from carrossel.config import load_params
from carrossel.evaluation.figures import render_png
from carrossel.evaluation.verdicts import format_skill
from carrossel.files import replacing_folder
from carrossel.tuning.patch import as_patch, as_set_arguments
from carrossel.tuning.report.figures import draw
from carrossel.tuning.report.findings import find
from carrossel.tuning.report.page import render_page
from carrossel.tuning.report.tables import tabulate_trials

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import optuna
    from matplotlib.figure import Figure

    from carrossel.tuning.report.findings import Findings

_NOTHING = "# No trial is complete: there is nothing to change.\n"


def write_report(
    study: optuna.Study, folder: Path, verdict: Mapping[str, Any] | None, params: Mapping[str, Any] | None = None
) -> dict[str, Figure]:
    """Write `trials.csv`, `importance.csv`, `best.yaml`, `verdict.json` if there is one, `study.html` and `figures/`, whole.

    Works from the study alone, in whatever state it is: what can't be shown yet is said in words on the page.

    Args:
        study: with the attributes of decision 6.
        folder: is replaced.
        verdict: of the best configuration against the default on the test part, as `tuning.verdict` gives it.
        params: all of params.yaml, to know which section the best configuration's keys belong to; read if not given.

    Returns:
        The figures by name, to be logged elsewhere, too.
    """
    found = find(study)
    drawn = draw(found)
    figures = {name: figure for name, figure in drawn.items() if not isinstance(figure, str)}
    images = {name: render_png(figure, dpi=110) for name, figure in figures.items()}
    patch, arguments = _configuration(found, load_params() if params is None else params)
    missing = {name: why for name, why in drawn.items() if isinstance(why, str)}
    with replacing_folder(folder) as temporary:
        tabulate_trials(found).to_csv(temporary / "trials.csv", index=False, lineterminator="\n")
        found.importance.to_csv(temporary / "importance.csv", index=False, lineterminator="\n")
        (temporary / "best.yaml").write_text(patch, encoding="utf-8")
        if verdict is not None:
            text = json.dumps(dict(verdict), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
            (temporary / "verdict.json").write_text(text + "\n", encoding="utf-8")
        page = render_page(found, images, missing, patch, arguments, verdict)
        (temporary / "study.html").write_text(page, encoding="utf-8")
        (temporary / "figures").mkdir()
        for name, png in images.items():
            (temporary / "figures" / f"{name}.png").write_bytes(png)
    return figures


def describe_best(found: Findings) -> list[str]:
    """Where the best configuration comes from, a line each."""
    if found.best is None:
        return []
    return [
        f"study {found.study.study_name}, trial {found.best.number} of {len(found.trials)}",
        f"validation skill {format_skill(found.best.values[0])}: the highest of {len(found.complete)}, so it flatters",
        f"bars {found.about.get('data_sha256', 'unknown')}",
        f"code {found.about.get('code_revision', 'unknown')}",
    ]


def _configuration(found: Findings, params: Mapping[str, Any]) -> tuple[str, str]:
    """The best configuration as YAML and as a command."""
    if found.best is None:
        return _NOTHING, ""
    where = (str(found.about.get("cell", "")), str(found.about.get("dataset", "")), params)
    arguments = as_set_arguments(found.best.params, *where)
    target = f"train@{where[1]}-{found.best.params.get('cell.kind', where[0])}"
    command = f"dvc exp run {shlex.join([target, *arguments])}".replace(" -S ", " \\\n  -S ")
    about = [*describe_best(found), "merge it into params.yaml, or:", *command.split("\n")]
    return as_patch(found.best.params, *where, about=about), command
