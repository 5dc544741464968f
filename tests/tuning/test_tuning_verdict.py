"""Did tuning help? The best against the default on the test rows that both forecast."""

import contextlib
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from carrossel import cells
from carrossel.config import validate
from carrossel.errors import StudyError
from carrossel.evaluation.significance import diebold_mariano
from carrossel.forecaster.heads.base import HeadConfig
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import TargetConfig, make_target
from carrossel.training.config import Recipe, Training
from carrossel.training.session import train
from carrossel.tuning.config import Tuning
from carrossel.tuning.verdict import compare_best
from carrossel.windows.config import Windows
from carrossel.windows.tensor import window_series

DEFAULT = Recipe(
    "walk",
    "rnn",
    "rnn",
    cells.registry.load("rnn").Config(hidden_size=2),
    Windows(lookback=4, features=("log_return",)),
    TargetConfig(kind="log_return"),
    HeadConfig(kind="point"),
    Training(epochs=2, batch_size=64, accelerator="cpu"),
)
LONGER = replace(DEFAULT, competitor="tuned", windows=Windows(lookback=6, features=("log_return",)))
SPACE = validate(
    {"cell": "rnn", "space": {"windows.lookback": {"kind": "int", "low": 4, "high": 6}}}, Tuning, "tuning"
).space


def write_best(folder, bars, recipe, error):
    """A model folder whose forecasts miss the truth by `error`, one number for each test row."""
    data = window_series(bars, recipe.windows, make_target(recipe.target), "walk")
    stamps = pd.DatetimeIndex(data.timestamps, tz="UTC")
    truth = data.bars["close"][data.split.test + 1]
    rows = pd.DataFrame(
        {
            "split": "test",
            "origin": stamps[data.split.test],
            "horizon": 1,
            "unchanged": data.bars["close"][data.split.test],
            "truth": truth,
            "forecast": truth + error,
        }
    )
    folder.mkdir()
    rows.to_parquet(folder / "forecasts.parquet")
    (folder / "manifest.json").write_text(json.dumps({"data_sha256": "d" * 64, "code_revision": "c0de"}))
    return folder


@contextlib.contextmanager
def memory_run(*_, **__):
    yield MemoryRecorder()


def test_the_default_is_trained_as_train_would_and_compared_row_by_row(tmp_path, make_bars):
    bars = make_bars(300)
    options = {"data_sha256": "d", "checkpoints": tmp_path / "c", "open_run": memory_run, "finish": lambda *_: None}
    train(bars, DEFAULT, folder=tmp_path / "rnn", **options)
    default = pd.read_parquet(tmp_path / "rnn" / "forecasts.parquet").query("split == 'test'")
    default = default.iloc[2:].reset_index()  # windows of 6 bars begin two rows later
    error = np.random.default_rng(1).normal(0, 1, len(default))
    found = compare_best(bars, LONGER, DEFAULT, write_best(tmp_path / "tuned", bars, LONGER, error), SPACE)
    loss = (default["truth"] - default["forecast"]) ** 2
    naive = (default["truth"] - default["unchanged"]) ** 2
    assert found["rows"] == len(default)
    assert found["default"] == {"windows.lookback": 4}
    assert found["best"] == {"windows.lookback": 6}
    # one network of the same seed on the same machine; prices went through float32 and back
    assert found["skill_default"] == pytest.approx(1 - loss.mean() / naive.mean(), abs=1e-6)
    assert found["loss_ratio"] == pytest.approx((error**2).mean() / loss.mean(), rel=1e-6)
    p = diebold_mariano(error**2 - loss, 1).p_better
    assert found["p_better"] == pytest.approx(p, rel=1e-4)
    assert found["p_better"] + found["p_worse"] == pytest.approx(1)
    assert (found["data_sha256"], found["code_revision"]) == ("d" * 64, "c0de")
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (
            0.0,
            r"The tuned rnn's squared error is 100 % lower than the default's on \d+ test rows \(p.*\): tuning helped\.",
        ),
        (50.0, r"[\d,]+ % higher than the default's .*: tuning did harm\."),
    ],
)
def test_the_sentence_says_what_the_test_bears_out(tmp_path, make_bars, size, said):

    bars = make_bars(200)
    found = compare_best(bars, LONGER, DEFAULT, write_best(tmp_path / "tuned", bars, LONGER, size), SPACE)
    assert re.search(said, found["sentence"]), found["sentence"]


def test_a_difference_that_luck_explains_is_no_evidence(tmp_path, make_bars, monkeypatch):
    bars = make_bars(200)
    sign = np.resize(
        [1.0, 2.0, 2.0, 1.0], len(window_series(bars, LONGER.windows, make_target(LONGER.target), "w").split.test)
    )
    rows = pd.read_parquet(write_best(tmp_path / "tuned", bars, LONGER, sign) / "forecasts.parquet")
    other = rows.assign(forecast=rows["truth"] + 3.01 - sign)
    monkeypatch.setattr("carrossel.tuning.verdict._forecast_test", lambda *_: other)
    found = compare_best(bars, LONGER, DEFAULT, tmp_path / "tuned", SPACE)
    assert found["sentence"].endswith("no evidence that tuning helped.")


def test_only_rows_that_both_forecast_count(tmp_path, make_bars, monkeypatch):
    bars = make_bars(200)
    rows = pd.read_parquet(write_best(tmp_path / "tuned", bars, LONGER, 1.0) / "forecasts.parquet")
    monkeypatch.setattr("carrossel.tuning.verdict._forecast_test", lambda *_: rows.iloc[5:].assign(forecast=0.0))
    found = compare_best(bars, LONGER, DEFAULT, tmp_path / "tuned", SPACE)
    assert found["rows"] == len(rows) - 5
    assert found["first"] == rows["origin"].iloc[5].isoformat()
    monkeypatch.setattr("carrossel.tuning.verdict._forecast_test", lambda *_: rows.iloc[:0])
    with pytest.raises(StudyError, match="walk: the tuned network and the default forecast no common row"):
        compare_best(bars, LONGER, DEFAULT, tmp_path / "tuned", SPACE)


def test_where_the_best_is_the_default_nothing_is_trained(tmp_path, make_bars, monkeypatch):
    def fail(*_, **__):
        raise AssertionError

    monkeypatch.setattr("carrossel.tuning.verdict.fit", fail)
    bars, best = make_bars(200), replace(DEFAULT, competitor="tuned")
    found = compare_best(bars, best, DEFAULT, write_best(tmp_path / "tuned", bars, best, 1.0), SPACE)
    assert found["loss_ratio"] == found["p_better"] == found["p_worse"] == 1.0
    assert found["sentence"] == "The study's best configuration is the default rnn itself: there is nothing to compare."


def test_a_best_that_was_not_trained_is_named(tmp_path, make_bars):
    with pytest.raises(StudyError, match=r"tuned can't be read .* dvc repro tune@"):
        compare_best(make_bars(200), LONGER, DEFAULT, tmp_path / "tuned", SPACE)
