"""What a new bar answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from carrossel.online.predictions import Score
from carrossel.targets.base import make_target, read_target
from carrossel.windows.tensor import columns_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from carrossel.online.predictions import Prediction


def score(pending: Iterable[Prediction], bars: pd.DataFrame, row: int, present: pd.Timestamp) -> list[Score]:
    """Scores of the predictions whose truth is known with the bar in a row; others wait.

    A truth whose bar is missing isn't known; should the source deliver the bar later, it is.

    Args:
        pending: without a score, of bars up to this one.
        bars: canonical bars, oldest first.
        present: the source's.

    Returns:
        Errors in the target's unit. `loss` is the squared error by which drift is judged: relative to the last close where the unit
        is a price, so that a price that has doubled is no drift.
    """
    columns = {name: values[: row + 1] for name, values in columns_of(bars).items()}
    rows = {stamp: number for number, stamp in enumerate(bars["timestamp"].iloc[: row + 1])}
    scores = []
    for made in pending:
        origin = rows.get(made.origin)
        if origin is None:
            continue
        target = make_target(read_target(json.loads(made.target)))
        label = target.label(columns, made.horizon)[origin]
        if not np.isfinite(label):
            continue
        truth = float(target.report(label, columns["close"][origin]))
        error = (made.forecast - truth) ** 2
        scores.append(
            Score(
                dataset=made.dataset,
                origin=made.origin,
                horizon=made.horizon,
                truth=truth,
                squared_error=error,
                persistence_squared_error=(made.unchanged - truth) ** 2,
                covered=None if made.lower is None or made.upper is None else made.lower <= truth <= made.upper,
                loss=error / made.last_close**2 if target.unit == "price" else error,
                scored_at=present,
            )
        )
    return scores
