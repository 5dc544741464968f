"""Bars with something to learn: `walks` has returns without memory and the same range in every bar."""

import numpy as np

from walks import make_bars


def make_lively_bars(rows, seed=0, missing=()):
    """Hourly bars: returns remember the last one, their variance is persistent and has a daily swing."""
    rng = np.random.default_rng(seed + 1000)
    log_variance, change = np.zeros(rows), np.zeros(rows)
    for t in range(1, rows):
        log_variance[t] = 0.9 * log_variance[t - 1] + rng.normal(0, 0.5)
        deviation = 0.01 * np.exp(0.5 * (log_variance[t] + np.sin(2 * np.pi * t / 24)))
        change[t] = 0.4 * change[t - 1] + rng.normal(0, deviation)
    bars = make_bars(rows, seed, missing)
    present = bars["status"].to_numpy() == "observed"
    close = np.where(present, 100 * np.exp(np.cumsum(change)), np.nan)
    bars["close"], bars["open"] = close, np.where(present, close * np.exp(-change), np.nan)
    width = np.abs(change) * rng.uniform(0.1, 0.5, rows) + 1e-4
    bars["high"] = np.maximum(bars["open"], bars["close"]) * np.exp(width)
    bars["low"] = np.minimum(bars["open"], bars["close"]) * np.exp(-width)
    return bars
