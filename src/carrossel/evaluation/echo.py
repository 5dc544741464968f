"""Does a forecast only repeat the last known value? It looks right on any plot of levels and knows nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from carrossel.errors import ModelError
from carrossel.evaluation.rows import read_columns

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

SMALLEST_BETA = 0.15
"""A forecast whose change takes up less of the true change than this doesn't foresee it."""


@dataclass(frozen=True)
class Echo:
    """How a forecast's changes relate to the true ones, now and before.

    Attributes:
        skill: 1 − MSE / MSE of persistence on these rows.
        beta: slope of the forecast change ŷ_t − y_{t−h} on the true change y_t − y_{t−h}: 1 for the truth, 0 for
            persistence; None if all true changes are the same.
        correlations: of ŷ_t − ŷ_{t−h} with y_{t−kh} − y_{t−kh−h}, for k = 0 … lags; None where one doesn't vary.
        peak: the k of the highest of them; None if there is none.
        is_echo: skill ≤ 0, peak ≥ 1 and |beta| < 0.15.
    """

    skill: float
    beta: float | None
    correlations: tuple[float | None, ...]
    peak: int | None
    is_echo: bool


def find_echo(forecasts: pd.DataFrame, *, horizon: int = 1, lags: int = 10) -> Echo:
    """Compare the forecast's changes with the true changes of now and of up to `lags` horizons ago.

    Bars h ahead, all changes are over h rows and k counts horizons, so that a forecast that repeats the last known value
    peaks at k = 1 for any h. Rows are taken as consecutive bars: over a gap a single change is longer than the others.

    Args:
        forecasts: of one competitor and one horizon, a row for each origin, in time order, with `truth`, `forecast` and
            `unchanged` (persistence's forecast), one unit: prices or log variances.
        horizon: bars ahead.
        lags: K, the highest k.

    Raises:
        ModelError: if persistence makes no error, since skill is then undefined, a value isn't finite, or there are no
            more rows than the horizon.
    """
    names = ("truth", "forecast", "unchanged")
    truth, forecast, unchanged = read_columns({name: forecasts[name] for name in names})
    if truth.size <= horizon:
        raise ModelError(
            f"{truth.size} rows are too few for changes over {horizon} bars: more rows than bars ahead were expected. "
            "Take a longer test part or a shorter windows.horizon."
        )
    persistence = float(np.mean((truth - unchanged) ** 2))
    if persistence == 0:
        raise ModelError(
            f"nothing changes in any of {truth.size} rows: 'tomorrow = today' makes no error, so skill is undefined. "
            "Check the bars of this part, or choose other shares in windows.train and windows.validation."
        )
    skill = 1 - float(np.mean((truth - forecast) ** 2)) / persistence
    beta = _slope(truth - unchanged, forecast - unchanged)
    forecast_change = forecast[horizon:] - forecast[:-horizon]
    true_change = truth[horizon:] - truth[:-horizon]
    correlations = tuple(
        _correlate(forecast_change[k * horizon :], true_change[: max(true_change.size - k * horizon, 0)])
        for k in range(lags + 1)
    )
    known = {k: value for k, value in enumerate(correlations) if value is not None}
    peak = max(known, key=lambda k: known[k]) if known else None
    is_echo = skill <= 0 and peak is not None and peak >= 1 and beta is not None and abs(beta) < SMALLEST_BETA
    return Echo(skill, beta, correlations, peak, is_echo)


def _slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    if np.ptp(x) == 0:
        return None
    centred = x - x.mean()
    return float(centred @ (y - y.mean()) / (centred @ centred))


def _correlate(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:  # noqa: PLR2004 - one point has no correlation
        return None
    return float(np.corrcoef(x, y)[0, 1])
