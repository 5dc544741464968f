"""Every kind goes through the pipeline's own training: windows, stacked cells, head, optimiser, diagnostics."""

from __future__ import annotations

import pytest
import torch

from carrossel.cells import registry
from carrossel.forecaster.heads.base import HeadConfig
from carrossel.forecaster.network import Network
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import TargetConfig, make_target
from carrossel.training.config import Recipe, Training
from carrossel.training.fitting import fit
from carrossel.windows.config import Windows
from carrossel.windows.tensor import window_series
from walks import make_bars

WINDOWS = Windows(lookback=6, features=("log_return", "log_range"))
TARGET = TargetConfig(kind="log_return")
TRAINING = Training(epochs=1, batch_size=64, threads=1, accelerator="cpu")


@pytest.fixture(scope="module")
def data():
    return window_series(make_bars(200), WINDOWS, make_target(TARGET))


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", registry.kinds())
def test_an_epoch_of_training_moves_every_weight(kind, data):
    config = registry.load(kind).Config(hidden_size=4, layers=2)
    head = HeadConfig(kind="point")
    recipe = Recipe("walk", kind, kind, config, WINDOWS, TARGET, head, TRAINING)
    fresh = Network(kind, config, data.series.shape[1], TRAINING.seed, head).state_dict()
    trained = fit(data, recipe, MemoryRecorder(), name="test", quiet=True).network.state_dict()

    assert all(value.isfinite().all() for value in trained.values())
    assert [name for name in fresh if torch.equal(fresh[name], trained[name])] == []
