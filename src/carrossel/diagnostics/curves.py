"""What a curve by lag says in a number: how long a gradient, a memory or an interest in the past lasts.

Needs no torch: a training computes these numbers, and the report computes them again from files.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

REACH = 1e-3  # a lag belongs to the memory while g_k is more than this share of g_0
SMALLEST = float(np.finfo(np.float32).tiny)  # below it float32 keeps fewer digits, and none below 1e-45


class Fading(NamedTuple):
    """How fast a gradient fades with the lag.

    Attributes:
        slope: of ln g_k over k, per step, by least squares; negative where the gradient vanishes, positive where it
            explodes. None if fewer than two lags have a gradient to fit.
        half_life: steps after which the fitted gradient has halved, ln 2 / −slope; None where it doesn't fade.
        memory: number of lags with g_k / g_0 > 1e-3.
    """

    slope: float | None
    half_life: float | None
    memory: int


def fading(g: Sequence[float] | NDArray[np.float64]) -> Fading:
    """D1's scalars.

    Underflow: the logarithm is fitted to the lags with g_k above the smallest normal float32, 1.2e-38; zeros and
    what lies below, which rounding has spoilt, are left out of the fit and are no part of the memory.

    Args:
        g: g_k by lag, from 0.
    """
    values = np.asarray(g, dtype=np.float64)
    memory = int((values > REACH * values[0]).sum()) if len(values) else 0
    lags = np.flatnonzero(values > SMALLEST)
    if len(lags) < 2:  # noqa: PLR2004  # a line needs two points
        return Fading(None, None, memory)
    centred = lags - lags.mean()
    slope = float(centred @ np.log(values[lags]) / (centred @ centred))
    return Fading(slope, -math.log(2) / slope if slope < 0 else None, memory)


def carrier(of_c: ArrayLike) -> Literal["h", "C"]:
    """Which state's D1 says how long a cell remembers: that of C, which carries the memory, or else of h.

    Of h where there is no C, and where no error starts in C: zoneout mixes C_T with the C before it once h_T is made, so
    C_T is not on the way to the loss, and there is no lag 0 to take shares of.

    Args:
        of_c: D1 of C at lag 0 of each layer; None or NaN for a cell without C.
    """
    first = np.asarray(of_c, dtype=np.float64)
    return "C" if first.size and bool((first > 0).all()) else "h"


def halving(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    """The lag at which a curve has first fallen to half of lag 0, between lags on a straight line of logarithms.

    Unlike the half-life of `fading` it says what the curve does near the end of the window, where most of it lies.

    Args:
        values: by lag, from 0; not negative.

    Returns:
        None for a curve that stays above half of lag 0, or starts at zero.
    """
    curve = np.asarray(values, dtype=np.float64)
    if not len(curve) or not curve[0] > 0:
        return None
    below = np.flatnonzero(curve <= curve[0] / 2)
    if not len(below):
        return None
    k = int(below[0])
    if curve[k] <= 0:
        return float(k)
    before, after = math.log(curve[k - 1]), math.log(curve[k])
    return k - 1 + (before - math.log(curve[0] / 2)) / (before - after)


def nearest_lags(values: Sequence[float] | NDArray[np.float64], share: float = 0.9) -> int | None:
    """How many of the nearest lags hold that share of the curve's sum: the stretch of the window that matters.

    Args:
        values: by lag, from 0; not negative.
        share: above 0, at most 1.

    Returns:
        None for a curve of zeros.
    """
    total = np.cumsum(np.asarray(values, dtype=np.float64))
    if not len(total) or not total[-1] > 0:
        return None
    # the sum of all can round to a little less than the share of itself
    return min(int(np.searchsorted(total, share * total[-1])) + 1, len(total))
