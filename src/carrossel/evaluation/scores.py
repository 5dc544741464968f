"""Scores of forecasts that aren't prices: log variances and probabilities of 'up'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from carrossel.errors import ModelError
from carrossel.evaluation.rows import read_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carrossel.evaluation.rows import Column


def qlike(truth_log_variance: Column, forecast_log_variance: Column) -> float:
    """Mean QLIKE loss: 0 for the truth; a variance forecast too low costs more than one as many times too high.

    References:
        Patton (2011), Volatility forecast comparison using imperfect volatility proxies, equation 24 in the form
        that is 0 at the truth: σ²/h − ln(σ²/h) − 1. It ranks forecasts as the unseen variance would, noisy proxy or not.
    """
    return float(qlike_losses(truth_log_variance, forecast_log_variance).mean())


def qlike_losses(truth_log_variance: Column, forecast_log_variance: Column) -> NDArray[np.float64]:
    """QLIKE by row, for tests on loss differences. See `qlike`."""
    truth, forecast = read_columns({"the true log variance": truth_log_variance, "the forecast": forecast_log_variance})
    excess = truth - forecast
    return np.expm1(excess) - excess


def log_loss(truth_up: Column, probability_up: Column) -> float:
    """Mean cross-entropy in nats; ln 2 for 'as likely as not'. Probabilities 0 and 1 are moved off by float64's epsilon.

    Args:
        truth_up: 1 where it went up, else 0.
        probability_up: 0 … 1.

    References:
        Good (1952), Rational decisions.
    """
    from sklearn.metrics import log_loss as mean_log_loss

    up, probability = _read_probabilities(truth_up, probability_up)
    return float(mean_log_loss(up, probability, labels=[0, 1]))


def brier(truth_up: Column, probability_up: Column) -> float:
    """Mean squared error of the probability; 0.25 for 'as likely as not'.

    Args:
        truth_up: 1 where it went up, else 0.
        probability_up: 0 … 1.

    References:
        Brier (1950), Verification of forecasts expressed in terms of probability, in its one-class form.
    """
    from sklearn.metrics import mean_squared_error

    return float(mean_squared_error(*_read_probabilities(truth_up, probability_up)))


@dataclass(frozen=True)
class PesaranTimmermann:
    """What the test says about forecast directions.

    Attributes:
        statistic: standard normal if directions forecast and true are independent; positive where they agree.
        p: one-sided: the chance of a statistic this high if they are independent.
        hit_rate: share of directions forecast rightly.
        expected_hit_rate: the share that independent forecasts with as many ups would get.
    """

    statistic: float
    p: float
    hit_rate: float
    expected_hit_rate: float


def pesaran_timmermann(truth_up: Column, forecast_up: Column) -> PesaranTimmermann | None:
    """Are directions foreseen, beyond knowing that most go one way? Rows are taken as independent: one bar ahead.

    Args:
        truth_up: 1 or True where it went up, else 0.
        forecast_up: 1 or True where 'up' was forecast, else 0.

    Returns:
        None where the test is undefined: truth or forecast always goes the same way.

    Raises:
        ModelError: if a value is neither 0 nor 1.

    References:
        Pesaran & Timmermann (1992), A simple nonparametric test of predictive performance, statistic S_n.
    """
    from scipy.stats import norm

    truth, forecast = read_columns({"the true direction": truth_up, "the forecast direction": forecast_up})
    _check_directions(truth, "the true direction")
    _check_directions(forecast, "the forecast direction")
    rows = truth.size
    p_y, p_x = truth.mean(), forecast.mean()
    if p_y in (0, 1) or p_x in (0, 1):
        return None
    hits = float(np.mean(truth == forecast))
    expected = p_y * p_x + (1 - p_y) * (1 - p_x)
    # the paper's V(P̂) − V(P̂*), multiplied out: what is left after its terms cancel is positive
    variance = 4 * p_y * (1 - p_y) * p_x * (1 - p_x) * (rows - 1) / rows**2
    statistic = float((hits - expected) / np.sqrt(variance))
    return PesaranTimmermann(statistic, float(norm.sf(statistic)), hits, float(expected))


def _read_probabilities(truth_up: Column, probability_up: Column) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    up, probability = read_columns({"the true direction": truth_up, "the probability of up": probability_up})
    _check_directions(up, "the true direction")
    outside = (probability < 0) | (probability > 1)
    if outside.any():
        raise ModelError(
            f"the probability of up is {probability[outside][0]} in row {int(np.argmax(outside))}: 0 … 1 was expected. "
            "Take the head `probability` or a baseline that answers with probabilities."
        )
    return up, probability


def _check_directions(up: NDArray[np.float64], name: str) -> None:
    other = (up != 0) & (up != 1)
    if other.any():
        raise ModelError(
            f"{name} is {up[other][0]} in row {int(np.argmax(other))}: 1 for up or 0 was expected. Compare first."
        )
