"""Small series for tests."""

import numpy as np
import pandas as pd


def make_bars(rows: int, seed: int = 0, missing: tuple[int, ...] = ()) -> pd.DataFrame:
    """Canonical hourly bars of a geometric random walk; rows in `missing` are holes."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    bars = pd.DataFrame(
        {
            "timestamp": pd.date_range("2020-01-01", periods=rows, freq="h", tz="UTC", unit="ns"),
            "open": close * 1.001,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "volume": rng.uniform(1, 9, rows),
            "status": "observed",
        }
    )
    bars.loc[list(missing), ["open", "high", "low", "close", "volume"]] = np.nan
    bars.loc[list(missing), "status"] = "missing"
    return bars
