"""Does anything computed for bar t know a bar after t? Disturb those bars, compute again, compare bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from carrossel.windows.features import compute_features
from carrossel.windows.tensor import columns_of, window_series

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from carrossel.targets.base import Target
    from carrossel.windows.config import Windows
    from carrossel.windows.splitting import Split

_TILTS = (np.log(2.0), -np.log(2.0))
_NOISE = 0.3


@dataclass(frozen=True)
class Leak:
    """One value that changed though it should have known nothing of what was changed.

    Attributes:
        what: what was computed, such as `feature log_return`.
        row: row of the first value that changed.
        after: last bar left as it was: all bars after it were disturbed.
        before: the value with the bars as they are.
        changed: the value with later bars disturbed.
    """

    what: str
    row: int
    after: int
    before: float
    changed: float

    def __str__(self) -> str:
        return f"{self.what} at row {self.row} changes from {self.before:.9g} to {self.changed:.9g} when bars after {self.after} do"


def find_leaks(
    compute: Callable[[pd.DataFrame], NDArray[Any]],
    bars: pd.DataFrame,
    rows: Sequence[int],
    seed: int = 0,
    *,
    delay: int = 0,
    what: str = "the result",
) -> list[Leak]:
    """For each t of `rows`, disturb all bars after t and demand that rows up to t − delay of the result stay, bit for bit.

    Each t is tried twice, with prices about doubled and about halved, so that what knows only a later move's direction is found
    too. Timestamps and status stay: the grid is known in advance.

    Args:
        compute: from canonical bars to an array of shape [time, ...]; must give the same for the same bars.
        bars: canonical bars; never changed.
        rows: bars after which to disturb, each under `len(bars) - 1`.
        seed: of the disturbance.
        delay: bars that a row may look ahead: the horizon for labels, else 0.
        what: name of the result, for messages.

    Returns:
        The first value that changed, per t that has one; none means no leak was found.

    Raises:
        ValueError: if the result hasn't one row per bar, or a row of `rows` leaves no bar to disturb.
    """
    expected = _per_row(compute(bars), len(bars))
    rng = np.random.default_rng(seed)
    leaks = []
    for t in rows:
        if not 0 <= t < len(bars) - 1:
            raise ValueError(f"no bar to disturb after row {t} of {len(bars)}")
        known = max(t + 1 - delay, 0)
        for tilt in _TILTS:
            found = _per_row(compute(disturbed(bars, t, tilt, rng)), len(bars))
            changed = np.argwhere(_differ(expected[:known], found[:known]))
            if len(changed):
                row, column = changed[0]
                leaks.append(Leak(what, int(row), t, float(expected[row, column]), float(found[row, column])))
                break
    return leaks


def disturbed(bars: pd.DataFrame, after: int, tilt: float, rng: np.random.Generator) -> pd.DataFrame:
    """A copy whose bars after one row are different, yet bars: open and close within low … high, no volume below zero.

    Args:
        after: last row left as it is.
        tilt: mean of the logarithm of the factor on prices.
    """
    later = slice(after + 1, None)
    copy = bars.copy()
    columns = {
        name: values[later] * np.exp(rng.normal(tilt, _NOISE, len(values[later])))
        for name, values in columns_of(bars).items()
    }
    prices = [columns[name] for name in ("open", "high", "low", "close")]
    columns["high"], columns["low"] = np.maximum.reduce(prices), np.minimum.reduce(prices)
    for name, values in columns.items():
        copy[name] = np.concatenate([bars[name].to_numpy(dtype=np.float64)[: after + 1], values])
    return copy


def probe_features(bars: pd.DataFrame, names: Sequence[str], rows: Sequence[int], seed: int = 0) -> list[Leak]:
    """Leaks of features by name."""
    return [
        leak
        for name in names
        for leak in find_leaks(partial(compute_features, names=(name,)), bars, rows, seed, what=f"feature {name}")
    ]


def probe_target(bars: pd.DataFrame, target: Target, horizon: int, rows: Sequence[int], seed: int = 0) -> list[Leak]:
    """Leaks of a target: the naive forecast may know bars up to its own, a label none after the bar `horizon` later."""
    return [
        *find_leaks(
            lambda frame: target.unchanged(columns_of(frame), horizon), bars, rows, seed, what=f"naive {target.kind}"
        ),
        *find_leaks(
            lambda frame: target.label(columns_of(frame), horizon),
            bars,
            rows,
            seed,
            delay=horizon,
            what=f"label {target.kind}",
        ),
    ]


def probe_windows(
    bars: pd.DataFrame, config: Windows, target: Target, split: Split | None = None, seed: int = 0
) -> list[Leak]:
    """Leaks of scalers, scaled features and scaled training labels: none may know a bar after the training part.

    Args:
        split: a walk-forward fold's parts; cut as `config` says if not given.

    Raises:
        SeriesTooShort: if a part gets no window.
    """
    parts = split or window_series(bars, config, target).split

    def training_part(frame: pd.DataFrame) -> NDArray[np.float64]:
        data = window_series(frame, config, target, split=split)
        scalers = [
            values for scaler in (data.feature_scaler, data.label_scaler) for values in (scaler.center, scaler.scale)
        ]
        labels = np.full(data.labels.shape, np.nan)
        labels[parts.train] = data.labels.numpy()[parts.train]
        return np.column_stack(
            [np.tile(np.concatenate(scalers), (len(frame), 1)), data.series.double().numpy(), labels]
        )

    return find_leaks(training_part, bars, [parts.train_rows - 1], seed, what="training part of the windows")


def probe_question(
    bars: pd.DataFrame, windows: Windows, target: Target, rows: Sequence[int], seed: int = 0
) -> list[Leak]:
    """Leaks of all that a dataset's question computes: its features, its target at each horizon, its scalers.

    Args:
        rows: bars after which features and labels are disturbed, such as `spread_rows` gives; scalers are at the training
            part's end.

    Raises:
        ConfigError: if a feature has no value on the whole series.
        SeriesTooShort: if a part gets no window.
    """
    return [
        # First, since a series too short for its windows is told here alone.
        *probe_windows(bars, windows, target, seed=seed),
        *probe_features(bars, windows.features, rows, seed),
        *(leak for horizon in windows.horizons for leak in probe_target(bars, target, horizon, rows, seed)),
    ]


def spread_rows(bars: int, count: int = 5) -> list[int]:
    """So many rows at equal distances within a series, neither its first nor its last; each once where it is shorter."""
    return sorted({bars * k // (count + 1) for k in range(1, count + 1)} - {0, bars - 1})


def _per_row(result: NDArray[Any], rows: int) -> NDArray[np.float64]:
    values = np.ascontiguousarray(result, dtype=np.float64)
    if values.shape[:1] != (rows,):
        raise ValueError(f"the result has shape {values.shape}; a probe needs one row for each of {rows} bars")
    return values.reshape(rows, -1)


def _differ(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where bits differ; NaN are alike, since which of their bits are set says nothing."""
    same: NDArray[np.bool_] = one.view(np.int64) == other.view(np.int64)
    return ~(same | (np.isnan(one) & np.isnan(other)))
