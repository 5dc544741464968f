"""From bars to a model folder and back: what a loaded model forecasts is what its folder says."""

import contextlib

import numpy as np
import pandas as pd
import pytest
import torch

from carrossel import cells
from carrossel.errors import ModelError
from carrossel.forecaster.heads.base import read_head
from carrossel.forecaster.stored import load
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import read_target
from carrossel.training.config import Recipe, Training
from carrossel.training.session import train
from carrossel.windows.config import Windows

QUANTILE_COLUMNS = ["q05", "q25", "q50", "q75", "q95"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@contextlib.contextmanager
def open_run(*_, **__):
    yield MemoryRecorder()


def trained(root, bars, target="log_return", head="point", **windows):
    """Train two epochs and give back the folder."""
    question = read_target({"kind": target})
    recipe = Recipe(
        "walk",
        "gru",
        "gru",
        cells.registry.load("gru").Config(hidden_size=4),
        Windows(**{"lookback": 6, "features": ("log_return", "log_range"), **windows}),
        question,
        read_head({"kind": head}, question),
        Training(epochs=2, batch_size=32, accelerator="cpu"),
    )
    folder = root / "models" / "walk" / "gru"
    train(
        bars,
        recipe,
        data_sha256="d" * 64,
        folder=folder,
        checkpoints=root / "checkpoints",
        open_run=open_run,
        finish=lambda recorder, written: None,
    )
    return folder


@pytest.mark.parametrize(
    ("target", "head"),
    [
        ("log_return", "point"),
        ("log_return", "quantiles"),
        ("price", "student_t"),
        ("volatility", "binned"),
        ("direction", "probability"),
    ],
)
def test_a_loaded_model_gives_the_forecasts_of_its_folder_for_every_horizon(tmp_path, make_bars, target, head):
    bars = make_bars(200)
    folder = trained(tmp_path, bars, target, head, horizon=(1, 3))
    rows = pd.read_parquet(folder / "forecasts.parquet")
    stored = load(folder)
    again = stored.predict(bars)
    assert len(again) == 2 * (200 - 6)
    assert not again.duplicated(["origin", "horizon"]).any()
    quantiles = QUANTILE_COLUMNS if head in {"quantiles", "student_t", "binned"} else []
    assert list(rows)[8:] == quantiles
    both = rows.merge(again, on=["origin", "horizon"], suffixes=("", "_again"), validate="one_to_one")
    assert len(both) == len(rows)
    for name in ("last_close", "forecast", *quantiles):
        # batches of another size may sum in another order: float32's last digits
        np.testing.assert_allclose(both[f"{name}_again"], both[name], rtol=1e-5, atol=1e-6)


def test_forecast_rows_say_what_was_asked_and_what_came(tmp_path, make_bars):
    bars = make_bars(200)
    rows = pd.read_parquet(trained(tmp_path, bars, horizon=(1, 3)) / "forecasts.parquet")
    assert list(rows) == ["split", "origin", "time", "horizon", "last_close", "unchanged", "truth", "forecast"]
    assert set(rows["horizon"]) == {1, 3}
    assert (rows["time"] - rows["origin"] == rows["horizon"] * pd.Timedelta("1h")).all()
    close = bars.set_index("timestamp")["close"]
    np.testing.assert_allclose(rows["truth"], close[rows["time"]], rtol=1e-12)
    np.testing.assert_array_equal(rows["unchanged"], close[rows["origin"]])
    np.testing.assert_array_equal(rows["last_close"], close[rows["origin"]])
    assert rows.loc[rows["split"] == "validation", "time"].max() < rows.loc[rows["split"] == "test", "origin"].min()


def test_a_folder_of_variances_says_its_unit_and_repeats_the_last_variance(tmp_path, make_bars):
    bars = make_bars(200).assign(realised_variance=np.exp(np.linspace(-9, -8, 200)))
    folder = trained(tmp_path, bars, "volatility", features=("log_variance",))
    stored = load(folder)
    assert stored.manifest["unit"] == "log_variance"
    assert stored.manifest["bars"]["columns"][-1] == "realised_variance"
    rows = pd.read_parquet(folder / "forecasts.parquet")
    variance = np.log(bars.set_index("timestamp")["realised_variance"])
    np.testing.assert_allclose(rows["truth"], variance[rows["time"]], rtol=1e-12)
    np.testing.assert_allclose(rows["unchanged"], variance[rows["origin"]], rtol=1e-12)
    # the variance rises by 1 / 199 a bar
    assert stored.manifest["train_mae_naive"] == pytest.approx(1 / 199)
    with pytest.raises(ModelError, match=r"bars lack the columns realised_variance\."):
        stored.predict(bars.drop(columns="realised_variance"))


def test_bars_without_a_variance_do_not_stop_a_training(tmp_path, make_bars):
    bars = make_bars(200).assign(realised_variance=np.exp(np.linspace(-9, -8, 200)))
    bars.loc[[40, 90, 150, 180], "realised_variance"] = np.nan
    rows = pd.read_parquet(trained(tmp_path, bars, "volatility") / "forecasts.parquet")
    assert np.isfinite(rows[["unchanged", "truth", "forecast"]]).all(axis=None)
