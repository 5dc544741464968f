from __future__ import annotations

import numpy as np
import pytest
import torch
from watched import LOOKBACK, write_model

from carrossel import cells
from carrossel.cells.unrolling import unroll
from carrossel.errors import ConfigError, ModelError
from carrossel.forecaster.stored import load
from carrossel.online.ticking import Ticker
from carrossel.windows.tensor import scale_features

KINDS = cells.registry.kinds()
CLOSE = 1e-6  # of a price: two float32 sums of the same numbers in another order


@pytest.fixture
def stored(tmp_path):
    return lambda kind, **keys: load(write_model(tmp_path / f"{kind}{len(keys)}", kind, **keys))


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_forecasts_as_predict_does(kind, stored, make_bars):
    forecaster, bars = stored(kind, horizon=(1, 3)), make_bars(40, missing=(20,))
    expected = forecaster.predict(bars)
    rows = scale_features(bars, forecaster.windows, forecaster.feature_scaler).numpy()
    ticker = Ticker(forecaster)

    found = [ticker.tick(row, close) for row, close in zip(rows, bars["close"], strict=True)]

    points = np.concatenate([each.point[0] for each in found if each is not None])
    np.testing.assert_allclose(points, expected["forecast"], rtol=CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_carried_state_forecasts_as_unrolling_over_the_whole_past(kind, stored, make_bars):
    forecaster, bars = stored(kind), make_bars(40)
    rows = scale_features(bars, forecaster.windows, forecaster.feature_scaler)[1:]
    hidden = rows[:, None]
    for cell in forecaster.network.cells:
        hidden, _ = unroll(cell, hidden, backend="loop")
    label = forecaster.network.head(hidden[:, 0])[:, 0, 0].double().detach().numpy() * 0.01
    expected = bars["close"].to_numpy()[1:] * np.exp(label)
    ticker = Ticker(forecaster, "carried")

    found = [ticker.tick(row, close) for row, close in zip(rows.numpy(), bars["close"][1:], strict=True)]

    assert [each is None for each in found] == [True] * (LOOKBACK - 1) + [False] * (39 - LOOKBACK + 1)
    points = np.array([each.point[0, 0] for each in found if each is not None])
    np.testing.assert_allclose(points, expected[LOOKBACK - 1 :], rtol=CLOSE)


@pytest.mark.parametrize("state", ["window", "carried"])
def test_a_state_that_was_saved_goes_on_to_the_last_bit(state, stored):
    forecaster = stored("lstm")
    rows = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    one, other = Ticker(forecaster, state), Ticker(forecaster, state)
    one.fill(rows[:12])
    other.restore(one.save())

    for row in rows[12:]:
        assert one.tick(row, 100.0).point == other.tick(row, 100.0).point


def test_a_state_of_another_network_is_refused_and_changes_nothing(stored):
    ticker, other = Ticker(stored("lstm"), "carried"), Ticker(stored("lstm", hidden_size=5), "carried")
    other.fill(np.ones((9, 2), np.float32))
    before = ticker.save()

    with pytest.raises(ModelError, match="5 units"):
        ticker.restore(other.save())
    with pytest.raises(ModelError, match="damaged"):
        ticker.restore(b"nonsense")

    assert ticker.save() == before


def test_a_cell_without_gate_maths_steps_by_its_own_equations(stored, make_bars):
    forecaster, bars = stored("rnn", activation="identity"), make_bars(20)
    rows = scale_features(bars, forecaster.windows, forecaster.feature_scaler).numpy()
    ticker = Ticker(forecaster)
    ticker.fill(rows[:-1])

    found = ticker.tick(rows[-1], float(bars["close"].iloc[-1]))

    np.testing.assert_allclose(found.point[0], forecaster.predict(bars)["forecast"].iloc[-1:], rtol=CLOSE)


def test_quantiles_come_along(stored, make_bars):
    forecaster, bars = stored("gru", head="quantiles"), make_bars(20)
    rows = scale_features(bars, forecaster.windows, forecaster.feature_scaler).numpy()
    ticker = Ticker(forecaster)
    ticker.fill(rows[:-1])

    found = ticker.tick(rows[-1], float(bars["close"].iloc[-1]))

    expected = forecaster.predict(bars).iloc[-1][["q05", "q25", "q50", "q75", "q95"]].to_numpy(float)
    np.testing.assert_allclose(found.quantiles[0, 0], expected, rtol=CLOSE)


def test_a_network_that_reads_both_ways_reads_each_window_anew(stored, make_bars):
    forecaster, bars = stored("gru", bidirectional=True, head="quantiles"), make_bars(40, missing=(20,))
    expected = forecaster.predict(bars)
    rows = scale_features(bars, forecaster.windows, forecaster.feature_scaler).numpy()
    one, other = Ticker(forecaster), Ticker(forecaster)
    other.restore(one.save())

    for ticker in (one, other):
        said = [ticker.tick(row, close) for row, close in zip(rows, bars["close"], strict=True)]
        found = [each for each in said if each is not None]
        np.testing.assert_allclose([each.point[0, 0] for each in found], expected["forecast"], rtol=CLOSE)
        np.testing.assert_allclose([each.quantiles[0, 0, 0] for each in found], expected["q05"], rtol=CLOSE)


def test_a_network_that_reads_both_ways_has_no_state_to_carry(stored):
    with pytest.raises(ConfigError, match=r"online\.watch\.state = 'carried': .* Set online\.watch\.state to window"):
        Ticker(stored("gru", bidirectional=True), "carried")


def test_cells_with_options_tick_as_they_predict(stored, make_bars):
    forecaster, bars = stored("lstm", layer_norm=True, zoneout=0.2, recurrent_dropout=0.2), make_bars(20)
    rows = scale_features(bars, forecaster.windows, forecaster.feature_scaler).numpy()
    ticker = Ticker(forecaster)
    ticker.fill(rows[:-1])

    found = ticker.tick(rows[-1], float(bars["close"].iloc[-1]))

    np.testing.assert_allclose(found.point[0], forecaster.predict(bars)["forecast"].iloc[-1:], rtol=CLOSE)


def test_nothing_is_said_before_the_window_is_complete(stored):
    ticker = Ticker(stored("gru"))
    row = np.zeros(2, np.float32)

    said = [ticker.tick(row, 1.0) is not None for _ in range(LOOKBACK)]
    assert said == [False] * (LOOKBACK - 1) + [True]
    assert ticker.tick(np.array([np.nan, 0], np.float32), 1.0) is None
    assert ticker.seen == 0
    assert torch.is_inference_mode_enabled() is False
