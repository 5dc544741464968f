from __future__ import annotations

import math
import subprocess
import sys

import pytest

from carrossel.diagnostics.curves import carrier, fading, halving, nearest_lags


def test_fading_of_a_halving_gradient():
    slope, half_life, memory = fading([8.0, 4.0, 2.0, 1.0])

    assert slope == pytest.approx(-math.log(2))
    assert half_life == pytest.approx(1.0)
    assert memory == 4


@pytest.mark.parametrize(
    ("at_lag_0", "followed"),
    [
        ([0.5], "C"),
        ([0.5, 0.1], "C"),
        ([None], "h"),
        ([math.nan, math.nan], "h"),
        ([0.0], "h"),
        ([0.5, 0.0], "h"),
        ([], "h"),
    ],
)
def test_a_memory_is_followed_along_c_where_error_starts_in_it(at_lag_0, followed):
    assert carrier(at_lag_0) == followed


def test_memory_counts_lags_above_a_thousandth_of_the_first():
    assert fading([1.0, 0.1, 0.01, 1.001e-3, 0.999e-3, 1e-4]).memory == 4


def test_an_exploding_gradient_has_no_half_life():
    slope, half_life, memory = fading([1.0, 2.0, 4.0])

    assert slope == pytest.approx(math.log(2))
    assert half_life is None
    assert memory == 3


@pytest.mark.parametrize(("g", "memory"), [([0.0, 0.0, 0.0], 0), ([3.0, 0.0, 0.0], 1), ([], 0)])
def test_too_few_lags_above_zero_give_no_slope_rather_than_nan(g, memory):
    assert fading(g) == (None, None, memory)


def test_zeros_after_underflow_dont_bend_the_slope():
    assert fading([1.0, 1e-10, 1e-20, 0.0, 0.0]).slope == pytest.approx(math.log(1e-10))


def test_a_curve_that_halves_each_lag_has_halved_after_one():
    assert halving([8.0, 4.0, 2.0]) == pytest.approx(1)


def test_halving_lies_between_lags_on_a_line_of_logarithms():
    """A quarter after one lag is a half after half a lag; from 0.8 at lag 2 to 0.2 at lag 3 it is ln(0.8/0.5) / ln 4 further."""
    assert halving([1.0, 0.25]) == pytest.approx(0.5)
    assert halving([1.0, 0.9, 0.8, 0.2]) == pytest.approx(2 + math.log(1.6) / math.log(4))


@pytest.mark.parametrize(("values", "lag"), [([1.0, 0.0], 1), ([1.0, 0.6, 0.7], None), ([0.0, 0.0], None), ([], None)])
def test_halving_at_zero_is_its_lag_and_never_is_none(values, lag):
    assert halving(values) == lag


@pytest.mark.parametrize(
    ("values", "share", "lags"),
    [([5.0, 4.0, 1.0], 0.9, 2), ([5.0, 4.0, 1.0], 0.91, 3), ([0.0, 0.0, 1.0], 0.9, 3), ([0.1] * 10, 1.0, 10)],
)
def test_nearest_lags_hold_their_share_of_the_sum(values, share, lags):
    assert nearest_lags(values, share) == lags


@pytest.mark.parametrize("values", [[], [0.0, 0.0]])
def test_a_curve_of_zeros_listens_to_nothing(values):
    assert nearest_lags(values) is None


def test_curves_need_no_torch():
    """The report computes them in a process that never loads it."""
    code = "import sys, carrossel.diagnostics.curves; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
