"""A model folder gives back the very forecasts it was saved with, or says clearly why it can't."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from carrossel import cells
from carrossel.errors import ModelError, SeriesTooShort
from carrossel.forecaster.network import Network
from carrossel.forecaster.stored import load, save
from carrossel.targets.base import TargetConfig
from carrossel.targets.base import registry as targets
from carrossel.windows.config import Windows
from carrossel.windows.tensor import window_series

WINDOWS = Windows(lookback=6, features=("log_return", "close"))


@pytest.fixture(params=["log_return", "price"])
def model(request, make_bars, tmp_path):
    bars = make_bars(300)
    target_config = TargetConfig(kind=request.param)
    data = window_series(bars, WINDOWS, targets.load(request.param)(), target_config)
    config = cells.registry.load("gru").Config(hidden_size=4)
    network = Network("gru", config, 2, seed=3)
    manifest = {
        "cell": {"kind": "gru", "config": config.model_dump(mode="json")},
        "windows": WINDOWS.model_dump(mode="json"),
        "target": target_config.model_dump(mode="json"),
        "scalers": {"features": data.feature_scaler.as_dict(), "label": data.label_scaler.as_dict()},
    }
    folder = tmp_path / "model"
    folder.mkdir()
    save(folder, network, manifest)
    return folder, network, data, bars


def test_raw_bars_in_price_forecast_out(model):
    folder, network, data, bars = model
    out = load(folder).predict(bars.drop(columns="status"))
    # The first return needs the bar before, so the first complete window of 6 ends at bar 6.
    assert out["origin"].tolist() == bars["timestamp"].iloc[6:].tolist()
    np.testing.assert_array_equal(out["last_close"], bars["close"].iloc[6:])
    origins = torch.arange(6, 300)
    with torch.no_grad():
        label = data.label_scaler.inverse(network(data.gather(origins)).double().numpy()[:, None])[:, 0]
    kind = json.loads((folder / "manifest.json").read_text())["target"]["kind"]
    expected = label if kind == "price" else bars["close"].to_numpy()[6:] * np.exp(label)
    # batches of another size may sum in another order: float32's last digit
    np.testing.assert_allclose(out["forecast"], expected, rtol=1e-6)


def test_a_forecast_does_not_depend_on_what_else_is_asked(model):
    folder, _, _, bars = model
    stored = load(folder)
    whole, tail = stored.predict(bars), stored.predict(bars.tail(7))
    assert len(tail) == 1
    assert tail["forecast"].iloc[0] == pytest.approx(whole["forecast"].iloc[-1], rel=1e-6)


def test_text_timestamps_are_understood(model):
    folder, _, _, bars = model
    text = bars.assign(timestamp=bars["timestamp"].map(pd.Timestamp.isoformat))
    pd.testing.assert_frame_equal(load(folder).predict(text), load(folder).predict(bars))


def test_windows_with_a_hole_get_no_forecast(model, make_bars):
    folder, *_ = model
    out = load(folder).predict(make_bars(30, missing=(15,)))
    hours = out["origin"].dt.hour + 24 * (out["origin"].dt.day - 1)
    assert hours.tolist() == [*range(6, 15), *range(22, 30)]


def test_too_few_bars_says_how_many_it_takes(model):
    folder, _, _, bars = model
    with pytest.raises(SeriesTooShort, match="give at least 7"):
        load(folder).predict(bars.head(6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bars: bars.drop(columns="volume"), "bars lack the columns volume"),
        (lambda bars: bars.iloc[::-1], "oldest first"),
        (lambda bars: pd.concat([bars, bars.tail(1)]), "each timestamp once"),
    ],
)
def test_bad_bars_are_refused(model, change, message):
    folder, _, _, bars = model
    with pytest.raises(ModelError, match=message):
        load(folder).predict(change(bars))


def test_nothing_but_plain_tensors_is_on_disk(model):
    folder, network, *_ = model
    assert sorted(file.name for file in folder.iterdir()) == ["manifest.json", "model.safetensors"]
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert set(weights.keys()) == set(network.state_dict())


def test_a_damaged_model_says_so(model):
    folder, *_ = model
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"damaged model .* Train it again"):
        load(folder)
    weights.unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        load(folder)


def test_weights_of_another_shape_are_refused(model):
    folder, *_ = model
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["cell"]["config"]["hidden_size"] = 7
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="damaged model"):
        load(folder)
