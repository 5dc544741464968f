"""The numbers of a first look: returns, their distribution, their memory, their volatility."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm
from statsmodels.tsa.stattools import acf

from carrossel.errors import SeriesTooShort

FEWEST_RETURNS = 10
"""Below that neither a histogram nor an autocorrelation says anything."""

_YEAR = pd.Timedelta(days=365.25)


@dataclass(frozen=True)
class Autocorrelation:
    """Autocorrelation by lag, with the band in which white noise of this length stays 95 % of the time.

    Attributes:
        lags: bars, from 1.
        coefficients: between −1 and 1, as long as `lags`; NaN for a constant series, which correlates with nothing.
        band: half width of the band around 0: 1.96 / √n.
    """

    lags: np.ndarray
    coefficients: np.ndarray
    band: float


def compute_returns(bars: pd.DataFrame) -> pd.Series:
    """Log returns ln(close_t / close_{t−1}), one per bar; NaN where either bar is missing, and at the first bar.

    Raises:
        SeriesTooShort: if fewer than `FEWEST_RETURNS` are left.
    """
    returns = np.log(bars["close"]).diff()
    returns = pd.Series(returns.to_numpy(), index=pd.DatetimeIndex(bars["timestamp"]), name="log_return")
    if returns.count() < FEWEST_RETURNS:
        raise SeriesTooShort(
            f"{len(bars)} bars give {returns.count()} returns; a first look needs {FEWEST_RETURNS}. "
            "Download earlier bars or choose a shorter interval."
        )
    return returns


def autocorrelate(series: pd.Series, longest_lag: int) -> Autocorrelation:
    """Autocorrelation at lags 1 … `longest_lag`; pairs with a missing value add nothing.

    Args:
        series: evenly spaced on the grid, NaN where missing.
        longest_lag: bars; fewer if the series is shorter.
    """
    lags = min(longest_lag, len(series) - 1)
    if np.isclose(series.min(), series.max(), rtol=1e-9, atol=0):
        return Autocorrelation(
            np.arange(1, lags + 1), np.full(lags, np.nan), float(norm.ppf(0.975) / series.count() ** 0.5)
        )
    values, interval = acf(
        series.to_numpy(dtype=float),
        nlags=lags,
        alpha=0.05,
        bartlett_confint=False,  # the band asks 'is it white noise?', not 'is it an MA(k−1)?'
        missing="conservative",
        result_object=False,
    )
    return Autocorrelation(np.arange(1, lags + 1), values[1:], float(interval[1, 1] - values[1]))


def measure_bars_per_year(timestamps: pd.Series) -> float:
    """Bars of the declared grid in a year: about 252 for daily sessions, 8,766 for hours round the clock."""
    return float((len(timestamps) - 1) / ((timestamps.iloc[-1] - timestamps.iloc[0]) / _YEAR))


def roll_volatility(returns: pd.Series, window: int, bars_per_year: float) -> pd.Series:
    """Annualised standard deviation of the last `window` returns; NaN where any of them is missing."""
    volatility: pd.Series = returns.rolling(window).std() * np.sqrt(bars_per_year)
    return volatility


def find_holes(bars: pd.DataFrame) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """First and last timestamp of every run of missing bars."""
    missing = bars["status"].eq("missing")
    run = missing.ne(missing.shift(fill_value=False)).cumsum()[missing]
    spans = bars.loc[missing, "timestamp"].groupby(run).agg(["min", "max"])
    return list(spans.itertuples(index=False, name=None))


def describe(bars: pd.DataFrame) -> pd.DataFrame:
    """The descriptive table.

    Returns:
        Columns `quantity`, `close` (price units), `log_return` (natural log), `volume` (the source's units). Skewness
        and excess kurtosis are bias-corrected, 0 for a normal distribution. What belongs to one column alone is empty
        in the others: `annualised_volatility` (standard deviation of log returns × √bars per year) to the returns,
        `bars_per_year` and the shares of bars by status to the close.
    """
    returns = compute_returns(bars)
    per_year = measure_bars_per_year(bars["timestamp"])
    columns = {"close": bars["close"], "log_return": returns, "volume": bars["volume"]}
    table = pd.DataFrame({name: _summarise(values) for name, values in columns.items()})
    table.loc["annualised_volatility", "log_return"] = returns.std() * np.sqrt(per_year)
    table.loc["bars_per_year", "close"] = per_year
    for status in ("observed", "filled", "missing"):
        table.loc[f"share_{status}", "close"] = bars["status"].eq(status).mean()
    return table.rename_axis("quantity").reset_index()


def _summarise(values: pd.Series) -> dict[str, float]:
    quartiles = values.quantile([0.25, 0.5, 0.75])
    return {
        "count": float(values.count()),
        "mean": values.mean(),
        "std": values.std(),
        "skewness": values.skew(),
        "excess_kurtosis": values.kurt(),
        "min": values.min(),
        "quartile_1": quartiles[0.25],
        "median": quartiles[0.5],
        "quartile_3": quartiles[0.75],
        "max": values.max(),
    }
