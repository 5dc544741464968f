"""Cells with options, and networks that read both ways, train like all others: reproducibly, and on after a kill."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch

from carrossel import cells
from carrossel.forecaster.heads.base import HeadConfig
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import TargetConfig, make_target
from carrossel.training.config import Recipe, Training
from carrossel.training.fitting import fit
from carrossel.windows.config import Windows
from carrossel.windows.tensor import window_series

WINDOWS = Windows(lookback=5, features=("log_return", "log_range"))
TARGET = TargetConfig(kind="log_return")
OPTIONS = {"layer_norm": True, "zoneout": 0.2, "recurrent_dropout": 0.3}


class StopIn(pl.Callback):
    """Ends the process's training in the middle of an epoch, as a kill would."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("killed")


def recipe(kind, **config):
    cell = cells.registry.load(kind).Config(hidden_size=4, layers=2, dropout=0.2, **config)
    training = Training(epochs=2, patience=9, batch_size=32, threads=1, accelerator="cpu")
    return Recipe("walk", kind, kind, cell, WINDOWS, TARGET, HeadConfig(kind="point"), training)


@pytest.fixture
def run(make_bars):
    data = window_series(make_bars(300), WINDOWS, make_target(TARGET))
    before = torch.get_num_threads()
    yield lambda recipe, **options: fit(data, recipe, MemoryRecorder(), name="test", **options)
    torch.set_num_threads(before)


@pytest.mark.parametrize(("kind", "config"), [("lstm", OPTIONS), ("gru", {**OPTIONS, "bidirectional": True})])
def test_a_killed_training_resumes_and_ends_as_an_undisturbed_one(kind, config, run, tmp_path):
    undisturbed = run(recipe(kind, **config))
    with pytest.raises(RuntimeError, match="killed"):
        run(recipe(kind, **config), checkpoints=tmp_path, callbacks=[StopIn(1)])
    torch.rand(100)
    resumed = run(recipe(kind, **config), checkpoints=tmp_path)

    assert resumed.history == undisturbed.history
    assert resumed.gradients.tables() == undisturbed.gradients.tables()
    weights = [each.network.state_dict() for each in (resumed, undisturbed)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    assert set(resumed.gradients.tables()["tensors"]["tensor"]) == set(dict(resumed.network.named_parameters()))
