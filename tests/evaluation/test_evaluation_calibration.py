from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from carrossel.errors import ModelError
from carrossel.evaluation.calibration import conformal_intervals, coverage, coverage_by_fold, crps, pinball

EXACT = {"rel": 1e-12}  # a handful of float64 operations
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def frame(truth: np.ndarray, horizon: int = 1) -> pd.DataFrame:
    origin = pd.date_range("2020-01-01", periods=len(truth), freq="D", tz="UTC", unit="ns")
    time = origin + pd.Timedelta(days=horizon)
    return pd.DataFrame({"origin": origin, "time": time, "truth": truth, "forecast": 0.0})


def changing_noise(seed: int, rows: int = 4000) -> np.ndarray:
    """Fat-tailed, with a standard deviation that wanders over a factor of about 10."""
    rng = np.random.default_rng(seed)
    log_scale = np.zeros(rows)
    for row in range(1, rows):
        log_scale[row] = 0.99 * log_scale[row - 1] + rng.normal(scale=0.1)
    return np.exp(log_scale) * rng.standard_t(5, rows)


def test_pinball_and_coverage_equal_their_values_by_hand() -> None:
    truth = pd.Series([1.0, 2.0, 5.0])
    losses = pinball(truth, {0.9: pd.Series([2.0, 2.0, 4.0]), 0.1: pd.Series([0.0, 2.0, 3.0])})
    assert losses == pytest.approx({0.1: 0.1 * (1 + 0 + 2) / 3, 0.9: (0.1 + 0 + 0.9) / 3}, **EXACT)
    assert list(losses) == [0.1, 0.9]
    assert coverage(truth, pd.Series([0.0, 2.0, 3.0]), pd.Series([2.0, 2.0, 4.0])) == pytest.approx(2 / 3, **EXACT)


def test_crps_of_a_certain_forecast_is_its_absolute_error() -> None:
    truth, certain = np.array([1.0, 4.0]), np.array([2.0, 2.0])
    assert crps(truth, dict.fromkeys(LEVELS, certain)) == pytest.approx(1.5, **EXACT)
    assert crps(truth, {0.5: certain}) == pytest.approx(1.5, **EXACT)


def test_crps_of_many_quantiles_is_the_closed_form_of_a_normal_distribution() -> None:
    truth = np.array([-1.3, 0.2, 2.5])
    closed = truth * (2 * norm.cdf(truth) - 1) + 2 * norm.pdf(truth) - 1 / np.sqrt(np.pi)  # Gneiting & Raftery 2007
    levels = np.arange(1, 1000) / 1000
    quantiles = {float(level): np.full(3, norm.ppf(level)) for level in levels}
    assert crps(truth, quantiles) == pytest.approx(closed.mean(), rel=1e-3)  # the sum's step


def test_crps_of_five_quantiles_is_three_percent_below_the_integral() -> None:
    truth = norm.ppf((np.arange(20000) + 0.5) / 20000)
    sum_of_five = crps(truth, {level: np.full(20000, norm.ppf(level)) for level in LEVELS})
    assert sum_of_five * np.sqrt(np.pi) == pytest.approx(0.97, abs=0.001)  # what the docstring states, in two digits


def test_levels_outside_0_to_1_and_no_levels_are_errors() -> None:
    with pytest.raises(ModelError, match=r"1.0 isn't a quantile level"):
        pinball(np.ones(2), {1.0: np.ones(2)})
    with pytest.raises(ModelError, match="no quantiles"):
        crps(np.ones(2), {})


TRUTH = np.array([1.0, 3.0, 2.0, 5.0, 0.0])  # errors 1 3 2 5 0 of a forecast of 0


@pytest.mark.parametrize(
    ("gamma", "window", "half_widths"),
    [
        (0, None, [np.nan, 1, 3, 2, 3]),  # 1st of 1, 2nd of 2, 2nd of 1 2 3, 3rd of 1 2 3 5
        (0, 2, [np.nan, 1, 3, 3, 5]),  # 1; 1 3; 3 2; 2 5: the second each time
        (0.5, None, [np.nan, 1, 3, 2, 5]),  # level ½, ½, ¾ after a miss, ½ after a hit, ¾: 4th of 1 2 3 5
    ],
)
def test_conformal_half_widths_equal_their_values_by_hand(
    gamma: float, window: int | None, half_widths: list[float]
) -> None:
    found = conformal_intervals(frame(TRUTH), level=0.5, gamma=gamma, window=window, normalised=False)
    assert found["upper"].tolist() == pytest.approx(half_widths, nan_ok=True, **EXACT)
    assert found["lower"].tolist() == pytest.approx([-one for one in half_widths], nan_ok=True, **EXACT)


def test_normalised_half_widths_equal_their_values_by_hand() -> None:
    found = conformal_intervals(frame(TRUTH), level=0.5, gamma=0, window=None)
    scale = (3 + 0.94 * 1) / 1.94  # of errors 1, 3
    # row 1 is the first with a scale, 1, and scores 3; row 2 scores 2 / scale, less than 3, and of two the 2nd counts
    later = (2 + 0.94 * 3 + 0.94**2) / (1 + 0.94 + 0.94**2)
    assert found["upper"].tolist()[:4] == pytest.approx([np.nan, np.nan, 3 * scale, 3 * later], nan_ok=True, **EXACT)


def test_two_bars_ahead_an_error_enters_two_rows_later() -> None:
    found = conformal_intervals(frame(TRUTH, 2), level=0.5, gamma=0, window=None, normalised=False)
    assert found["upper"].tolist() == pytest.approx([np.nan, np.nan, 1, 3, 2], nan_ok=True, **EXACT)


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("normalised", [True, False])
def test_intervals_do_not_change_when_later_truths_do(horizon: int, *, normalised: bool) -> None:
    truth = changing_noise(0, 300)
    before = conformal_intervals(frame(truth, horizon), gamma=0.05, normalised=normalised)
    changed = truth.copy()
    changed[200:] = 1000.0
    after = conformal_intervals(frame(changed, horizon), gamma=0.05, normalised=normalised)
    known = 200 + horizon  # the first row at whose origin the truth of row 200 is known
    pd.testing.assert_frame_equal(before[:known], after[:known], check_exact=True)
    assert (before[known + 1 :] != after[known + 1 :]).all(axis=None)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("horizon", [1, 5])
def test_adaptive_intervals_of_90_percent_hold_88_to_92_percent_of_changing_noise(seed: int, horizon: int) -> None:
    rows = frame(changing_noise(seed), horizon)
    found = conformal_intervals(rows, level=0.9)
    assert found["lower"].isna().sum() < 20
    assert 0.88 <= coverage(rows["truth"], found["lower"], found["upper"]) <= 0.92
    folds = coverage_by_fold(rows["truth"], found["lower"], found["upper"], pd.Series(np.arange(4000) // 1000))
    assert list(folds) == ["0", "1", "2", "3"]
    assert all(0.86 <= share <= 0.94 for share in folds.values())  # 4 standard errors of 1,000 rows


def test_where_noise_grows_for_good_split_intervals_lose_their_coverage_and_adaptive_ones_keep_it() -> None:
    truth = changing_noise(0) * np.where(np.arange(4000) < 2000, 1, 20)
    grown = slice(2000, None)
    settings = {"split": (0.0, False), "adaptive": (0.005, False), "adaptive and normalised": (0.005, True)}
    held = {}
    for name, (gamma, normalised) in settings.items():
        found = conformal_intervals(frame(truth), gamma=gamma, window=None, normalised=normalised)
        held[name] = coverage(truth[grown], found["lower"][grown], found["upper"][grown])
    assert held["split"] < 0.8
    assert 0.88 <= held["adaptive"] <= 0.92
    assert 0.88 <= held["adaptive and normalised"] <= 0.92


def test_a_forecast_without_error_for_some_rows_gets_no_normalised_interval_there() -> None:
    truth = np.concatenate([np.zeros(20), changing_noise(0, 100)])
    found = conformal_intervals(frame(truth))
    assert found["lower"][:21].isna().all()
    assert found["lower"][60:].notna().all()


def test_rows_without_interval_count_neither_way() -> None:
    truth, lower = np.array([1.0, 1.0, 1.0]), np.array([np.nan, 0.0, 2.0])
    assert coverage(truth, lower, lower + 1) == 0.5
    assert coverage(truth, lower * np.nan, lower) is None
    assert coverage_by_fold(truth, lower, lower + 1, pd.Series(["a", "b", "c"])) == {"b": 1, "c": 0}


def test_rows_out_of_order_or_of_several_models_are_an_error() -> None:
    rows = frame(TRUTH)
    with pytest.raises(ModelError, match=r"`origin` doesn't increase"):
        conformal_intervals(rows[::-1])
    with pytest.raises(ModelError, match=r"`origin` doesn't increase"):
        conformal_intervals(pd.concat([rows, rows]).sort_values("origin"))
    with pytest.raises(ModelError, match=r"`time` isn't after its `origin`"):
        conformal_intervals(rows.assign(time=rows["origin"]))
