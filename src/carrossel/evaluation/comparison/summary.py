"""Tables for `dvc metrics` and `dvc plots`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carrossel.evaluation.comparison.contest import Contest

SKILL_COLUMNS = ["dataset", "competitor", "kind", "validation", "test", "lower", "upper", "p_corrected"]


def collect_metrics(contests: Sequence[Contest]) -> dict[str, dict[str, dict[str, float]]]:
    """`metrics.json`: dataset → competitor → metric, on the test part, persistence among them."""
    return {c.dataset: c.evaluation["rows"]["test"] for c in contests}


def tabulate_plots(contests: Sequence[Contest]) -> dict[str, pd.DataFrame]:
    """The tables behind `dvc plots`, by file name without suffix.

    Returns:
        `skill`: dataset, competitor, kind (network or baseline), validation, test, and of test the ends of the 95 %
        interval and the corrected p. For each dataset D, one column per network:
        `gradient_by_lag_D` (last epoch, lowest layer; mean L2 norm of ∂L/∂h) by `lag`, and
        `validation_loss_D` by `epoch`.
    """
    skills = [
        {
            "dataset": contest.dataset,
            "competitor": name,
            "kind": "baseline" if competitor.is_baseline else "network",
            "validation": contest.skill("validation")[name],
            "test": contest.skill("test")[name],
            **{key: contest.evaluation["judgements"][name][key] for key in ("lower", "upper", "p_corrected")},
        }
        for contest in contests
        for name, competitor in contest.competitors.items()
    ]
    tables = {"skill": pd.DataFrame.from_records(skills, columns=SKILL_COLUMNS)}
    for contest in contests:
        tables[f"gradient_by_lag_{contest.dataset}"] = _join(
            {name: select_gradient(c.gradient_by_lag, last=True) for name, c in contest.networks.items()}
        )
        tables[f"validation_loss_{contest.dataset}"] = _join(
            {name: c.history.set_index("epoch")["validation_loss"] for name, c in contest.networks.items()}
        )
    return tables


def select_gradient(gradient_by_lag: pd.DataFrame, *, last: bool) -> pd.Series:
    """Gradient norm by lag at the first or the last epoch recorded, in the lowest layer: its error travels furthest.

    Args:
        gradient_by_lag: columns epoch, layer, lag, h.
        last: take the last epoch recorded, else the first.
    """
    epochs, layers = gradient_by_lag["epoch"], gradient_by_lag["layer"]
    epoch = epochs.max() if last else epochs.min()
    chosen = gradient_by_lag[(epochs == epoch) & (layers == layers.min())]
    gradient: pd.Series = chosen.set_index("lag")["h"].sort_index()
    return gradient


def _join(columns: dict[str, pd.Series]) -> pd.DataFrame:
    return pd.concat(columns, axis=1).sort_index().reset_index()
