"""Tables of a study, as CSV and as the page prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from optuna.trial import TrialState

from carrossel.evaluation.comparison.formats import DASH
from carrossel.tuning.report.findings import epochs_run

if TYPE_CHECKING:
    from carrossel.tuning.report.findings import Findings


def tabulate_trials(found: Findings) -> pd.DataFrame:
    """One row per trial, whatever became of it, with a column per key that is empty where the trial didn't draw it."""
    rows = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            **(dict(zip(found.objectives, trial.values, strict=True)) if trial.state == TrialState.COMPLETE else {}),
            "seconds": trial.user_attrs.get("seconds"),
            "parameters": trial.user_attrs.get("parameters"),
            "epochs": epochs_run(trial),
            "reason": None if trial.number in found.lost else trial.user_attrs.get("reason"),
            **trial.params,
        }
        for trial in found.trials
    ]
    columns = ["number", "state", *found.objectives, "seconds", "parameters", "epochs", "reason", *found.distributions]
    # As objects, so that whole numbers stay whole beside empty cells. `parameters` may be an objective, too.
    return pd.DataFrame(rows, columns=list(dict.fromkeys(columns)), dtype=object)


def compare_with_default(found: Findings) -> list[dict[str, str]]:
    """A row per key: the default's value beside the best trial's."""
    drawn = found.best.params if found.best else {}
    return [
        {
            "key": key,
            "default": format_value(found.default.get(key)),
            "best": format_value(drawn.get(key)),
            "same": "same" if drawn.get(key) == found.default.get(key) else "",
        }
        for key in found.distributions
    ]


def format_value(value: Any) -> str:
    """A drawn value as people read it: `0.00312`, `41`, a dash for nothing."""
    if value is None:
        return DASH
    if isinstance(value, float):
        return f"{value:.3g}".replace("e-0", "e-")
    return str(value)
