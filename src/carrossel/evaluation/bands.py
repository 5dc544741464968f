"""Do the bands between two forecast quantiles hold as many truths as they promise?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrossel.evaluation.calibration import coverage, crps, pinball

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


def judge_bands(truth: pd.Series, quantiles: Mapping[float, pd.Series]) -> dict[str, Any]:
    """How good a competitor's quantiles are.

    Args:
        truth: [rows].
        quantiles: by level, the same rows.

    Returns:
        `coverage.<percent>`: share of truths in the central band that should hold that many percent, for each pair of
        levels as far from the middle (`90` for 5 and 95 %); `below.<level>`: share of truths under each quantile; `pinball.<level>`
        and `crps`, in the unit.

    Raises:
        ModelError: if a value isn't finite.
    """
    levels = sorted(quantiles)
    pairs = [
        (low, high)
        for low, high in zip(levels, reversed(levels), strict=True)
        if low < high and round(low + high, 9) == 1
    ]
    return {
        "coverage": {
            str(round(100 * (high - low))): coverage(truth, quantiles[low], quantiles[high]) for low, high in pairs
        },
        "below": {f"{level:g}": float((truth.to_numpy() < quantiles[level].to_numpy()).mean()) for level in levels},
        "pinball": {f"{level:g}": loss for level, loss in pinball(truth, quantiles).items()},
        "crps": crps(truth, quantiles),
    }
