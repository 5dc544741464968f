from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from carrossel.errors import SeriesTooShort
from carrossel.evaluation.exploration.figures import draw_exploration
from carrossel.evaluation.exploration.statistics import (
    autocorrelate,
    compute_returns,
    describe,
    find_holes,
    measure_bars_per_year,
    roll_volatility,
)
from carrossel.evaluation.figures import render_png

DAYS = pd.date_range("2020-01-01", periods=16, tz="UTC").as_unit("ns")


def make_bars(close: list[float], missing: tuple[int, ...] = ()) -> pd.DataFrame:
    bars = pd.DataFrame({"timestamp": DAYS[: len(close)], "close": close, "status": "observed"})
    for column in ("open", "high", "low"):
        bars[column] = bars["close"]
    bars["volume"] = 100.0
    bars.loc[list(missing), ["open", "high", "low", "close", "volume"]] = np.nan
    bars.loc[list(missing), "status"] = "missing"
    return bars


def make_doubling(missing: tuple[int, ...] = ()) -> pd.DataFrame:
    return make_bars([2.0 ** (k % 2) for k in range(16)], missing)


def test_a_hole_leaves_the_return_into_it_and_out_of_it_empty() -> None:
    returns = compute_returns(make_doubling(missing=(4, 5)))
    assert returns.isna().to_numpy().nonzero()[0].tolist() == [0, 4, 5, 6]
    assert returns.iloc[1] == pytest.approx(np.log(2), rel=1e-15)


def test_too_few_returns_say_how_many_it_takes() -> None:
    with pytest.raises(SeriesTooShort, match=r"5 bars give 4 returns; a first look needs 10"):
        compute_returns(make_bars([1.0, 2.0, 3.0, 4.0, 5.0]))


def test_autocorrelation_equals_the_sums_by_hand() -> None:
    found = autocorrelate(pd.Series([1.0, -1.0, 1.0, -1.0]), longest_lag=2)
    # mean 0, variance sum 4; lag 1: −3, lag 2: +2
    assert found.lags.tolist() == [1, 2]
    assert found.coefficients.tolist() == pytest.approx([-0.75, 0.5], rel=1e-12)
    assert found.band == pytest.approx(1.959964 / 2, rel=1e-6)  # quantile of the normal distribution / √4


def test_autocorrelation_leaves_out_pairs_with_a_missing_value() -> None:
    found = autocorrelate(pd.Series([1.0, -1.0, np.nan, 1.0, -1.0]), longest_lag=1)
    assert found.coefficients.tolist() == pytest.approx([-2 / 4], rel=1e-12)  # two whole pairs of −1 over four squares


def test_volatility_is_a_standard_deviation_scaled_to_a_year() -> None:
    returns = pd.Series([0.0, 0.02, 0.0, np.nan, 0.02])
    volatility = roll_volatility(returns, window=2, bars_per_year=100.0)
    assert volatility.iloc[1] == pytest.approx(0.02 / np.sqrt(2) * 10, rel=1e-12)
    assert volatility.isna().tolist() == [True, False, False, True, True]


def test_a_year_of_days_has_365_and_a_quarter() -> None:
    assert measure_bars_per_year(pd.Series(DAYS)) == pytest.approx(365.25, rel=1e-12)


def test_every_run_of_missing_bars_is_one_hole() -> None:
    assert find_holes(make_doubling(missing=(0, 4, 5))) == [(DAYS[0], DAYS[0]), (DAYS[4], DAYS[5])]
    assert find_holes(make_doubling()) == []


def test_the_descriptive_table_agrees_with_numpy_and_tells_what_is_missing() -> None:
    bars = make_doubling(missing=(4, 5))
    table = describe(bars).set_index("quantity")
    close = bars["close"].dropna().to_numpy()
    assert table.loc["count", "close"] == 14
    assert table.loc["mean", "close"] == pytest.approx(close.mean(), rel=1e-12)
    assert table.loc["std", "close"] == pytest.approx(close.std(ddof=1), rel=1e-12)
    assert table.loc["share_missing", "close"] == pytest.approx(2 / 16)
    assert table.loc["annualised_volatility", "log_return"] == pytest.approx(
        np.nanstd(np.diff(np.log(bars["close"])), ddof=1) * np.sqrt(365.25), rel=1e-12
    )


def test_figures_are_the_same_bytes_for_the_same_bars() -> None:
    bars = make_doubling(missing=(4, 5))
    first, second = (
        {name: render_png(figure, dpi=40) for name, figure in draw_exploration(bars, "toy").items()} for _ in range(2)
    )
    assert set(first) == {"price", "returns", "histogram", "volume", "autocorrelation", "rolling_volatility"}
    assert first == second


def test_no_line_crosses_a_hole_and_the_hole_is_shaded() -> None:
    axes = draw_exploration(make_doubling(missing=(4, 5)), "toy")["price"].axes[0]
    assert np.isnan(axes.lines[0].get_ydata()).nonzero()[0].tolist() == [4, 5]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["missing (1 hole)"]


@pytest.mark.parametrize("volume", [np.nan, 0.0])
def test_a_source_without_volume_can_be_explored(volume: float) -> None:
    bars = make_doubling().assign(volume=volume)
    assert render_png(draw_exploration(bars, "toy")["volume"], dpi=40)


def test_a_constant_price_can_be_explored() -> None:
    figures = draw_exploration(make_bars([3.0] * 16), "toy")
    for name in ("price", "histogram", "autocorrelation"):
        assert render_png(figures[name], dpi=40)
