"""Every registered baseline on every target it can answer: shapes, seeds, and no look at later bars."""

import dataclasses

import numpy as np
import pytest
from lively_bars import make_lively_bars

from carrossel.baselines import make_baseline, registry
from carrossel.targets.base import TargetConfig, make_target
from carrossel.windows.config import Windows
from carrossel.windows.leak_probe import disturbed
from carrossel.windows.tensor import window_series

TARGETS = ("price", "log_return", "direction", "volatility")
WINDOWS = Windows(lookback=12, horizon=(1, 5), features=("log_return", "log_range"))
HOLES = (40, 41, 300, 301, 302)
BARS = make_lively_bars(600, seed=3, missing=HOLES)


def windowed(bars, target, windows=WINDOWS, split=None):
    return window_series(bars, windows, make_target(TargetConfig(kind=target)), split=split)


def answers():
    return [
        (kind, target)
        for kind in registry.kinds()
        for target in TARGETS
        if make_target(TargetConfig(kind=target)).unit in registry.load(kind).units
    ]


def small(kind, seed=1):
    """A baseline whose fit takes a moment."""
    cls = registry.load(kind)
    quick = {"neighbours": 20, "epochs": 2, "units": 10, "max_windows": 300, "min_leaf": 10}
    config = cls.Config(**{key: value for key, value in quick.items() if key in cls.Config.model_fields})
    return make_baseline(kind, config, seed)


def fitted(kind, data, seed=1):
    baseline = small(kind, seed)
    baseline.fit(data)
    return baseline


def everywhere(data):
    return np.concatenate([data.split.train, data.split.validation, data.split.test])


def test_every_unit_has_persistence_and_several_more():
    for target in TARGETS:
        kinds = [kind for kind, answered in answers() if answered == target]
        assert "persistence" in kinds
        assert len(kinds) > 10


@pytest.mark.parametrize("kind", registry.kinds())
def test_the_kind_is_the_files_name(kind):
    cls = registry.load(kind)
    assert cls.kind == kind
    assert cls.__module__ == f"carrossel.baselines.{kind}"


@pytest.mark.parametrize("kind", registry.kinds())
def test_it_names_its_paper_or_is_naive(kind):
    assert "References:" in registry.load(kind).__doc__ or kind in {"persistence", "drift"}


@pytest.mark.parametrize(("kind", "target"), answers())
def test_it_forecasts_every_origin_and_horizon_in_label_units(kind, target):
    data = windowed(BARS, target)
    origins = everywhere(data)
    forecast = fitted(kind, data).forecast(data, origins)
    assert forecast.shape == (len(origins), 2)
    assert forecast.dtype == np.float64
    assert np.isfinite(forecast).all()
    if target == "direction":
        assert ((forecast >= 0) & (forecast <= 1)).all()
    else:
        label = data.label[data.split.train]
        assert (np.abs(forecast.mean(axis=0) - label.mean(axis=0)) < 5 * label.std(axis=0)).all()


@pytest.mark.parametrize(("kind", "target"), answers())
def test_equal_seeds_give_equal_bits_and_who_needs_no_seed_ignores_it(kind, target):
    data = windowed(BARS, target)
    origins = data.split.test
    first, again = (fitted(kind, data).forecast(data, origins) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    if not registry.load(kind).needs_seed:
        np.testing.assert_array_equal(first, fitted(kind, data, seed=2).forecast(data, origins))


@pytest.mark.parametrize(("kind", "target"), answers())
def test_bars_after_the_origin_change_no_forecast_by_a_bit(kind, target):
    data = windowed(BARS, target)
    baseline = fitted(kind, data)
    t = int(data.split.test[10])
    origins = everywhere(data)
    known = origins <= t
    before = baseline.forecast(data, origins)
    for tilt in (np.log(2), -np.log(2)):
        later = windowed(disturbed(BARS, t, tilt, np.random.default_rng(0)), target, split=data.split)
        after = baseline.forecast(later, origins)
        np.testing.assert_array_equal(before[known], after[known])
        if kind not in {"drift", "persistence"} or target in {"price", "volatility"}:
            assert not np.array_equal(before[~known], after[~known])


@pytest.mark.parametrize(("kind", "target"), answers())
def test_bars_after_training_and_stopping_change_no_fit(kind, target):
    data = windowed(BARS, target)
    stops_early = "patience" in registry.load(kind).Config.model_fields
    last = data.split.validation[-1] + max(data.horizons) if stops_early else data.split.train_rows - 1
    later = windowed(disturbed(BARS, int(last), np.log(2), np.random.default_rng(0)), target, split=data.split)
    origins = data.split.train
    np.testing.assert_array_equal(
        fitted(kind, data).forecast(data, origins), fitted(kind, later).forecast(data, origins)
    )


@pytest.mark.parametrize(("kind", "target"), answers())
def test_a_split_without_validation_part_can_be_fitted(kind, target):
    data = windowed(BARS, target)
    none = np.array([], dtype=np.int64)
    alone = windowed(BARS, target, split=dataclasses.replace(data.split, validation=none))
    assert np.isfinite(fitted(kind, alone).forecast(alone, alone.split.test)).all()


@pytest.mark.parametrize("kind", [kind for kind, target in answers() if target == "direction"])
def test_a_training_part_that_only_rises_gives_probabilities(kind):
    bars = make_lively_bars(300)
    for name in ("open", "high", "low", "close"):
        bars[name] = bars[name].to_numpy()[0] * 1.001 ** np.arange(300)
    bars["high"] *= np.random.default_rng(0).uniform(1, 1.01, 300)
    data = windowed(bars, "direction", Windows(lookback=3, features=("log_range",)))
    baseline = make_baseline(kind)
    baseline.fit(data)
    forecast = baseline.forecast(data, data.split.test)
    assert (forecast <= 1).all()
    assert (forecast >= 0.5).all() if kind == "persistence" else (forecast > 0.5).all()


@pytest.mark.parametrize("kind", registry.kinds())
def test_every_knob_has_a_description(kind):
    fields = registry.load(kind).Config.model_fields
    assert all(field.description for field in fields.values())
