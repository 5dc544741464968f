"""Drift: quiet where nothing changes, loud where something does, and nothing but a function of the history."""

import math

import numpy as np
import pytest

from carrossel.online.config import Drift
from carrossel.online.drift import DriftMonitor, autocorrelation_time

NAN = math.nan
DETECTORS = ("adwin", "page_hinkley")


def losses(seed, bars=2500):
    """Squared errors with fat tails: Student's t with 5 degrees of freedom."""
    return np.random.default_rng(seed).standard_t(5, bars) ** 2


def persistent(seed, memory, bars=2500):
    """An AR(1) of variance 1."""
    noise = np.random.default_rng(seed).standard_normal(bars) * math.sqrt(1 - memory**2)
    values = np.zeros(bars)
    for t in range(1, bars):
        values[t] = memory * values[t - 1] + noise[t]
    return values


def alarms(monitor, stream):
    """Bars at which a stream of losses gave an alarm."""
    return [bar for bar, value in enumerate(stream) if monitor.update(value, [])]


def input_alarms(monitor, stream):
    return [bar for bar, value in enumerate(stream) if monitor.update(NAN, [value])]


@pytest.mark.parametrize("detector", DETECTORS)
def test_stationary_losses_with_fat_tails_give_hardly_an_alarm(detector):
    found = [alarms(DriftMonitor(Drift(detector=detector)), losses(seed)) for seed in range(20)]
    assert sum(map(len, found)) <= 2  # measured: 0 and 2 in 40,000 bars


@pytest.mark.parametrize("memory", [0.5, 0.9])
@pytest.mark.parametrize("detector", DETECTORS)
def test_an_input_with_memory_gives_hardly_an_alarm(detector, memory):
    found = [input_alarms(DriftMonitor(Drift(detector=detector)), persistent(seed, memory)) for seed in range(20)]
    assert sum(map(len, found)) <= 2  # measured: 0 to 2 in 40,000 bars


def test_hours_that_come_and_go_are_no_drift():
    clock = np.sin(2 * np.pi * np.arange(2500) / 24)
    assert input_alarms(DriftMonitor(Drift()), clock) == []


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_loss_that_doubles_is_noticed(detector):
    for seed in range(5):
        stream = losses(seed)
        stream[1500:] *= 2
        found = alarms(DriftMonitor(Drift(detector=detector)), stream)
        assert any(1500 <= bar < 2300 for bar in found)  # median delay 176 and 167 bars


def test_only_the_input_that_moved_is_named():
    rng = np.random.default_rng(3)
    monitor = DriftMonitor(Drift(warm_up=200), ("log_return", "log_range"))
    found = set()
    for bar in range(900):
        moved = 3.0 if bar >= 500 else 0.0
        found.update(monitor.update(rng.standard_normal() ** 2, [rng.standard_normal(), rng.standard_normal() + moved]))
    assert found == {"log_range"}


def test_inputs_without_names_are_numbered():
    monitor = DriftMonitor(Drift(warm_up=100))
    rng = np.random.default_rng(0)
    found = set()
    for bar in range(400):
        found.update(
            monitor.update(rng.standard_normal(), [rng.standard_normal(), rng.standard_normal() + 9 * (bar > 200)])
        )
    assert found == {"input 2"}


def test_a_loss_that_falls_is_no_alarm():
    stream = losses(1)
    stream[1500:] /= 9
    assert alarms(DriftMonitor(Drift()), stream) == []


def test_an_alarm_is_followed_by_quiet_while_the_stream_learns_anew():
    stream = np.random.default_rng(2).standard_normal(1600)
    stream[300:] += 5
    found = input_alarms(DriftMonitor(Drift(warm_up=200)), stream)
    assert len(found) == 1
    assert 300 < found[0] < 350


def test_the_same_history_gives_the_same_monitor():
    stream = losses(4)
    stream[1000:] *= 9
    config = Drift(warm_up=300)
    assert alarms(DriftMonitor(config), stream) == alarms(DriftMonitor(config), stream) != []


def test_the_unit_of_a_loss_does_not_matter():
    stream = losses(4)
    stream[1000:] *= 9
    assert alarms(DriftMonitor(Drift()), stream) == alarms(DriftMonitor(Drift()), 1e-6 * stream)


def test_numbers_that_are_not_finite_are_left_out():
    stream = losses(4, 1200)
    stream[700:] *= 9
    clean = DriftMonitor(Drift(warm_up=200))
    holed = DriftMonitor(Drift(warm_up=200))
    expected = [bool(clean.update(value, [])) for value in stream]
    found = []
    for value in stream:
        assert holed.update(NAN, []) == []
        found.append(bool(holed.update(value, [])))
    assert found == expected
    assert any(found)


def test_a_number_of_inputs_that_changes_is_an_error():
    with pytest.raises(ValueError):
        DriftMonitor(Drift(), ("a", "b")).update(0.0, [1.0])


def test_autocorrelation_time_is_that_of_the_law():
    assert autocorrelation_time(persistent(0, 0.0, 4000)) == pytest.approx(1, abs=0.2)
    # (1 + φ) / (1 − φ) = 3; 4,000 values leave about a tenth of noise
    assert autocorrelation_time(persistent(0, 0.5, 4000)) == pytest.approx(3, rel=0.25)
    assert autocorrelation_time(np.ones(100)) == 1
