"""A model folder gives back the very forecasts it was saved with, or says clearly why it can't."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from carrossel import cells
from carrossel.errors import ConfigError, ModelError, SeriesTooShort
from carrossel.forecaster.heads.base import read_head
from carrossel.forecaster.network import Network
from carrossel.forecaster.stored import load, save
from carrossel.targets.base import TargetConfig, make_target
from carrossel.windows.config import Windows
from carrossel.windows.tensor import window_series

WINDOWS = Windows(lookback=6, features=("log_return", "close"))


def store(folder, bars, kind="log_return", head="point", windows=WINDOWS, columns=()):
    """Write a model folder with untrained weights."""
    target = TargetConfig(kind=kind)
    section = read_head(head if isinstance(head, dict) else {"kind": head}, target)
    data = window_series(bars, windows, make_target(target))
    config = cells.registry.load("gru").Config(hidden_size=4)
    network = Network("gru", config, len(windows.features), seed=3, head=section, horizons=len(windows.horizons))
    network.head.prepare(data.labels[torch.from_numpy(data.split.train)])
    manifest = {
        "cell": {"kind": "gru", "config": config.model_dump(mode="json")},
        "windows": windows.model_dump(mode="json"),
        "target": target.model_dump(mode="json"),
        "head": section.model_dump(mode="json"),
        "scalers": {"features": data.feature_scaler.as_dict(), "label": data.label_scaler.as_dict()},
        "bars": {"columns": list(columns)},
    }
    folder.mkdir()
    save(folder, network, manifest)
    return network, data


@pytest.fixture(params=["log_return", "price"])
def model(request, make_bars, tmp_path):
    bars = make_bars(300)
    folder = tmp_path / "model"
    return folder, *store(folder, bars, request.param), bars


def test_raw_bars_in_price_forecast_out(model):
    folder, network, data, bars = model
    out = load(folder).predict(bars.drop(columns="status"))
    # The first return needs the bar before, so the first complete window of 6 ends at bar 6.
    assert out["origin"].tolist() == bars["timestamp"].iloc[6:].tolist()
    np.testing.assert_array_equal(out["last_close"], bars["close"].iloc[6:])
    origins = torch.arange(6, 300)
    with torch.no_grad():
        label = data.label_scaler.inverse(network.point(data.gather(origins)).double().numpy())[:, 0]
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
    with pytest.raises(SeriesTooShort, match=r"6 bars were given; .* need at least 7"):
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


@pytest.mark.parametrize("head", ["quantiles", "student_t", "binned"])
def test_quantiles_come_in_the_unit_of_the_forecast(make_bars, tmp_path, head):
    bars = make_bars(300)
    network, data = store(tmp_path / "model", bars, head=head)
    out = load(tmp_path / "model").predict(bars)
    assert list(out)[4:9] == ["q05", "q25", "q50", "q75", "q95"]
    origins = np.arange(6, 300)
    with torch.no_grad():
        scaled = network.head.quantiles(network(data.gather(torch.from_numpy(origins))), [0.05, 0.95])
    label = data.label_scaler.inverse(scaled[:, 0].double().numpy())
    expected = bars["close"].to_numpy()[6:, None] * np.exp(label)
    np.testing.assert_allclose(out[["q05", "q95"]], expected, rtol=1e-6)


@pytest.mark.parametrize(("kind", "head"), [("direction", "probability"), ("volatility", "point")])
def test_other_targets_forecast_in_their_own_unit(make_bars, tmp_path, kind, head):
    bars = make_bars(300)
    network, data = store(tmp_path / "model", bars, kind, head)
    out = load(tmp_path / "model").predict(bars)
    with torch.no_grad():
        scaled = network.point(data.gather(torch.arange(6, 300))).double().numpy()
    np.testing.assert_allclose(out["forecast"], data.label_scaler.inverse(scaled)[:, 0], rtol=1e-5)


def test_each_window_gets_a_row_for_every_horizon(make_bars, tmp_path):
    bars = make_bars(300)
    windows = WINDOWS.model_copy(update={"horizon": (1, 4)})
    network, data = store(tmp_path / "model", bars, windows=windows, head="quantiles")
    out = load(tmp_path / "model").predict(bars)
    assert out["horizon"].tolist() == [1, 4] * 294
    assert out["origin"].tolist() == bars["timestamp"].iloc[6:].repeat(2).tolist()
    assert out["last_close"].tolist() == bars["close"].iloc[6:].repeat(2).tolist()
    with torch.no_grad():
        label = data.label_scaler.inverse(network.point(data.gather(torch.arange(6, 300))).double().numpy())
    expected = bars["close"].to_numpy()[6:, None] * np.exp(label)
    np.testing.assert_allclose(out["forecast"], expected.reshape(-1), rtol=1e-6)
    np.testing.assert_allclose(out["q50"], out["forecast"], rtol=1e-12)


def test_a_model_trained_on_finer_bars_variance_refuses_bars_without_it(make_bars, tmp_path):
    bars = make_bars(300).assign(realised_variance=np.linspace(1e-4, 2e-4, 300))
    windows = WINDOWS.model_copy(update={"features": ("log_variance",)})
    store(tmp_path / "model", bars, "volatility", windows=windows, columns=["close", "realised_variance"])
    stored = load(tmp_path / "model")
    assert len(stored.predict(bars)) == 294
    with pytest.raises(ModelError, match=r"bars lack the columns realised_variance\."):
        stored.predict(bars.drop(columns="realised_variance"))


def test_a_hole_that_no_feature_shows_gets_no_forecast(make_bars, tmp_path):
    windows = WINDOWS.model_copy(update={"features": ("hour_sin", "hour_cos")})
    store(tmp_path / "model", make_bars(300), windows=windows)
    out = load(tmp_path / "model").predict(make_bars(30, missing=(15,)))
    assert out["origin"].dt.hour.tolist() == [*range(6, 15), 21, 22, 23, *range(6)]
    assert np.isfinite(out["forecast"]).all()


def test_a_folder_whose_head_cannot_answer_its_target_is_refused(make_bars, tmp_path):
    store(tmp_path / "model", make_bars(300))
    file = tmp_path / "model" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"head": {"kind": "probability"}}))
    with pytest.raises(ConfigError, match=r"head\.kind = 'probability': target log_return is answered by point"):
        load(tmp_path / "model")


@pytest.mark.parametrize("kind", ["log_return", "price"])
def test_the_likeliest_moves_are_mean_training_labels_in_the_labels_own_unit(make_bars, tmp_path, kind):
    bars = make_bars(300)
    network, data = store(tmp_path / "model", bars, kind, {"kind": "binned", "bins": 7})
    out = load(tmp_path / "model").predict(bars)
    moves, chances = [f"move_{k}" for k in range(1, 6)], [f"chance_{k}" for k in range(1, 6)]
    assert list(out)[9:] == [*moves, *chances]
    with torch.no_grad():
        probability = network(data.gather(torch.arange(6, 300)))[:, 0].softmax(-1).numpy()
    np.testing.assert_allclose(out[chances], -np.sort(-probability, axis=1)[:, :5], rtol=1e-6)
    train = data.split.train
    bins = network.head.bin(data.labels[train])[:, 0].numpy()
    means = np.array([data.label[train][bins == number].mean() for number in range(7)])
    likeliest = np.argsort(-probability, axis=1)[:, :5]
    # the head keeps its centers in float32, of labels scaled to a deviation of 1
    np.testing.assert_allclose(out[moves], means[likeliest], rtol=1e-5, atol=1e-6 * data.label_scaler.scale[0])


def test_there_are_no_more_likeliest_moves_than_bins_and_a_row_for_every_horizon(make_bars, tmp_path):
    bars = make_bars(300)
    store(
        tmp_path / "model",
        bars,
        head={"kind": "binned", "bins": 3},
        windows=WINDOWS.model_copy(update={"horizon": (1, 4)}),
    )
    out = load(tmp_path / "model").predict(bars)
    assert list(out)[9:] == ["move_1", "move_2", "move_3", "chance_1", "chance_2", "chance_3"]
    assert len(out) == 2 * 294
    np.testing.assert_allclose(out[["chance_1", "chance_2", "chance_3"]].sum(axis=1), 1, rtol=1e-6)  # float32


def test_heads_without_bins_have_no_columns_of_likeliest_moves(make_bars, tmp_path):
    store(tmp_path / "model", make_bars(300), head="quantiles")
    assert not [
        name for name in load(tmp_path / "model").predict(make_bars(300)) if name.startswith(("move", "chance"))
    ]
