"""Trials share one file of bars and one of each question's tensors, and nothing behind the test part's first row."""

import multiprocessing
import os
import pickle
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from carrossel import cells
from carrossel.errors import StudyError
from carrossel.forecaster.heads.base import HeadConfig
from carrossel.targets.base import TargetConfig, make_target
from carrossel.training.config import Recipe, Training
from carrossel.tuning import data as module
from carrossel.tuning.data import Held
from carrossel.tuning.trial import Job, run_trial
from carrossel.windows.config import Windows
from carrossel.windows.splitting import Split
from carrossel.windows.tensor import window_series

ROWS, END = 200, 170
WINDOWS = Windows(lookback=4, features=("log_return", "volume"), horizon=(1, 3))
TARGET = TargetConfig(kind="log_return")
NOTHING = np.empty(0, dtype=np.int64)
FOLDS = (
    Split(np.arange(9, 80), np.arange(90, 120), NOTHING, 84),
    Split(np.arange(9, 120), np.arange(130, 166), NOTHING, 124),
)


@pytest.fixture(autouse=True)
def _fresh_process():
    """As a process that has asked nothing yet."""
    module._ask.cache_clear()
    module._read_series.cache_clear()


@pytest.fixture
def bars(make_bars):
    return make_bars(ROWS, missing=(124, 125))


@pytest.fixture
def made(monkeypatch):
    """How often windows were made, by lookback."""
    calls = []

    def count(*arguments):
        calls.append(arguments)
        return window_series(*arguments)

    monkeypatch.setattr(module, "window_series", count)
    return calls


def share(bars, folder):
    return Held.share("walk", bars.iloc[:END], FOLDS, folder)


def assert_same(found, expected):
    assert torch.equal(found.series.nan_to_num(9e9), expected.series.nan_to_num(9e9))
    assert torch.equal(found.labels.nan_to_num(9e9), expected.labels.nan_to_num(9e9))
    for name in ("unchanged", "label", "timestamps"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.bars.keys() == expected.bars.keys()
    for name, column in expected.bars.items():
        np.testing.assert_array_equal(found.bars[name], column)
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(found.split.origins(part), expected.split.origins(part))
    assert found.split.train_rows == expected.split.train_rows
    for name in ("feature_scaler", "label_scaler"):
        assert getattr(found, name).as_dict() == getattr(expected, name).as_dict()
    assert (found.lookback, found.horizons, found.features) == (
        expected.lookback,
        expected.horizons,
        expected.features,
    )
    assert type(found.target) is type(expected.target)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize(
    "windows", [WINDOWS, WINDOWS.model_copy(update={"stride": 3, "scaler": "minmax", "features": ("close",)})]
)
def test_a_folds_windows_are_those_made_directly(tmp_path, bars, shared, fold, windows):
    held = pickle.loads(pickle.dumps(share(bars, tmp_path if shared else None)))  # noqa: S301 - our own, made here
    split = replace(FOLDS[fold], train=FOLDS[fold].train[:: windows.stride])
    direct = window_series(bars.iloc[:END], windows, make_target(TARGET), "walk", split)
    assert held.folds == 2
    for _ in range(2):  # made, then mapped
        assert_same(held.windowed(windows, TARGET, fold), direct)
        _forget()


def _forget():
    module._ask.cache_clear()
    module._read_series.cache_clear()


def test_windows_are_made_once_for_all_lookbacks_and_processes(tmp_path, bars, made):
    held = share(bars, tmp_path)
    first = held.windowed(WINDOWS, TARGET, 0)
    wider = held.windowed(WINDOWS.model_copy(update={"lookback": 9}), TARGET, 0)
    assert (first.lookback, wider.lookback) == (4, 9)
    assert first.series.data_ptr() == wider.series.data_ptr()
    held.windowed(WINDOWS, TARGET, 1)
    held.windowed(WINDOWS, TargetConfig(kind="price"), 0)
    assert len(made) == 3


def look(held, folder, told):
    """What another process finds if it mustn't make windows itself: their sum, and the files below the folder that it maps."""
    module.window_series = None
    found = held.windowed(WINDOWS, TARGET, 0)
    maps = Path("/proc/self/maps")
    mapped = (
        {line.split()[-1] for line in maps.read_text().splitlines() if str(folder) in line} if maps.exists() else None
    )
    told.put((float(found.series[1:].nan_to_num().double().sum()), mapped))


def test_a_second_process_maps_the_file_of_the_first(tmp_path, bars):
    held = share(bars, tmp_path)
    expected = held.windowed(WINDOWS, TARGET, 0)
    spawned = multiprocessing.get_context("spawn")
    told = spawned.SimpleQueue()
    second = spawned.Process(target=look, args=(held, tmp_path, told))
    second.start()
    second.join(60)
    assert second.exitcode == 0
    total, mapped = told.get()
    assert total == float(expected.series[1:].nan_to_num().double().sum())
    assert mapped in (None, {str(path) for path in tmp_path.rglob("*.safetensors")})


def test_of_two_that_ask_at_once_one_makes_the_windows(tmp_path, bars, made):
    held = share(bars, tmp_path)
    found = []
    both = threading.Barrier(2)

    def ask():
        both.wait()
        found.append(held.windowed(WINDOWS, TARGET, 0))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert_same(*found)


@pytest.mark.parametrize("damage", ["truncated", "foreign", "another's"])
def test_a_damaged_file_is_made_anew(tmp_path, bars, made, damage):
    held = share(bars, tmp_path)
    expected = held.windowed(WINDOWS, TARGET, 0)
    (path,) = set(held.folder.glob("*.safetensors")) - {held.folder / "bars.safetensors"}
    other = held.folder / "bars.safetensors"
    content = {"truncated": path.read_bytes()[:-8], "foreign": b"not tensors at all", "another's": other.read_bytes()}
    replaced = tmp_path / "damaged"
    replaced.write_bytes(content[damage])
    replaced.replace(path)  # a new file: the old one is mapped
    _forget()
    assert_same(held.windowed(WINDOWS, TARGET, 0), expected)
    assert len(made) == 2


def test_the_driver_writes_damaged_bars_anew_and_a_worker_says_they_are_gone(tmp_path, bars):
    held = share(bars, tmp_path)
    path = held.folder / "bars.safetensors"
    path.unlink()
    with pytest.raises(StudyError, match=r"the bars there are gone or damaged\. Run the study again"):
        held.windowed(WINDOWS, TARGET, 0)
    path.write_bytes(b"half")
    assert share(bars, tmp_path) == held
    held.windowed(WINDOWS, TARGET, 0)


def test_nothing_of_the_test_part_is_shared(tmp_path, bars):
    changed = bars.copy()
    columns = ["open", "high", "low", "close", "volume"]
    changed.loc[END:, columns] = 987654321.0
    held = share(changed, tmp_path)
    assert held == share(bars, tmp_path)
    found = held.windowed(WINDOWS, TARGET, 1)
    assert len(found.timestamps) == len(found.series) == END
    assert not len(found.split.test)
    needle = np.float64(987654321.0).tobytes()
    assert all(needle not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert needle not in pickle.dumps(share(changed, None))
    beyond = replace(FOLDS[1], test=np.array([169]))
    for folds in ([beyond], [replace(FOLDS[1], validation=np.array([END]))]):
        with pytest.raises(ValueError, match="nothing of the test part"):
            Held.share("walk", bars.iloc[:END], folds, tmp_path)


def test_a_trial_writes_nothing_into_what_is_shared(tmp_path, bars):
    held = share(bars, tmp_path)
    before = held.windowed(WINDOWS, TARGET, 0).series.clone()
    held.windowed(WINDOWS, TARGET, 0).series.fill_(7)
    _forget()
    assert torch.equal(held.windowed(WINDOWS, TARGET, 0).series.nan_to_num(9e9), before.nan_to_num(9e9))


@pytest.mark.parametrize("shared", [True, False])
def test_a_trial_runs_on_every_fold_without_a_test_part(tmp_path, bars, shared):
    held = share(bars, tmp_path if shared else None)
    cell = cells.registry.load("rnn").Config(hidden_size=3)
    training = Training(epochs=2, batch_size=32, accelerator="cpu")
    recipe = Recipe("walk", "rnn", "rnn", cell, WINDOWS, TARGET, HeadConfig(kind="point"), training)
    points = []
    outcome = run_trial(held, Job("study", 0, "trial 0", recipe, ("skill", "latency", "parameters")), points.append)
    assert (outcome.state, outcome.reason) == ("complete", "")
    assert [point.step for point in points] == [1, 2, 3, 4]


def test_what_nobody_used_for_a_week_goes(tmp_path, bars, make_bars):
    old, recent = share(bars, tmp_path), share(make_bars(ROWS, seed=1), tmp_path)
    for held, days in ((old, 8), (recent, 6)):
        stamp = held.folder.stat().st_mtime - days * 24 * 3600
        os.utime(held.folder, (stamp, stamp))
    new = share(make_bars(ROWS, seed=2), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {recent.folder.name, new.folder.name}
    recent.windowed(WINDOWS, TARGET, 0)
    assert new.folder.stat().st_mtime - recent.folder.stat().st_mtime < 24 * 3600
