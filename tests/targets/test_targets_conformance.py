"""Every registered target: labels are causal in the right direction and lead back to the price."""

import numpy as np
import pytest
import torch

from carrossel.errors import ConfigError, UnknownKind
from carrossel.targets.base import read_target, registry

CLOSE = np.array([100.0, 110.0, 99.0, 120.0])


@pytest.fixture(params=registry.kinds())
def target(request):
    return registry.load(request.param)()


@pytest.mark.parametrize("horizon", [1, 2, 3, 4, 9])
def test_the_perfect_forecast_gives_the_true_price(target, horizon):
    label = target.label(CLOSE, horizon)
    known = max(len(CLOSE) - horizon, 0)
    assert np.isnan(label[known:]).all()
    np.testing.assert_allclose(target.price(label[:known], CLOSE[:known]), CLOSE[horizon:], rtol=1e-14)


def test_the_label_looks_only_at_its_own_bar_and_the_bar_forecast(target):
    changed = CLOSE.copy()
    changed[1] *= 3
    same = target.label(CLOSE, 2) == target.label(changed, 2)
    assert same.tolist()[0]


def test_the_kind_is_the_files_name(target):
    assert type(target).__module__.rsplit(".", 1)[1] == target.kind


def test_the_loss_of_a_perfect_forecast_is_zero_and_its_gradient_finite(target):
    forecast = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = target.loss(forecast, torch.tensor([1.0, 2.0]))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(forecast.grad).all()


def test_log_return_is_the_logarithm_of_the_price_ratio():
    label = registry.load("log_return")().label(CLOSE, 1)
    np.testing.assert_allclose(label[:3], np.log([1.1, 0.9, 120 / 99]), rtol=1e-12)


def test_price_is_the_price():
    np.testing.assert_array_equal(registry.load("price")().label(CLOSE, 1)[:3], [110.0, 99.0, 120.0])


def test_the_section_is_checked():
    assert read_target({"target": {"kind": "price", "scaler": "minmax"}}).scaler == "minmax"
    with pytest.raises(UnknownKind, match="'pice'"):
        read_target({"target": {"kind": "pice"}})
    with pytest.raises(ConfigError, match="unknown key"):
        read_target({"target": {"kind": "price", "horizon": 3}})


def test_unchanged_leads_back_to_the_last_price(target):
    np.testing.assert_array_equal(target.price(target.unchanged(CLOSE), CLOSE), CLOSE)
