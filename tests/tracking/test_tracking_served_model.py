from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch

from carrossel import cells
from carrossel.errors import ModelError
from carrossel.forecaster.network import Network
from carrossel.forecaster.stored import load, save
from carrossel.tracking.mlflow_recorder import open_run
from carrossel.tracking.models import example_bars, find_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carrossel.tracking.store import Store

# MLflow's own modules: type hints it can't check, and an import that Starlette deprecates
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*type hint:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*Add type hints to the `predict` method:UserWarning"),
]
LOOKBACK = 4


@pytest.fixture
def trained(model_folder: Path) -> Path:
    torch.set_num_threads(1)
    config = cells.registry.load("lstm").Config(hidden_size=3)
    manifest = json.loads((model_folder / "manifest.json").read_text())
    features = ["log_return", "log_range", "log_volume_change"]
    manifest |= {
        "cell": {"kind": "lstm", "config": config.model_dump()},
        "windows": {"lookback": LOOKBACK, "features": features},
        "scalers": {
            "features": {"center": [0.0] * 3, "scale": [0.01] * 3},
            "label": {"center": [0.0], "scale": [0.01]},
        },
    }
    save(model_folder, Network("lstm", config, len(features), seed=0), manifest)
    return model_folder


@pytest.fixture
def bars() -> pd.DataFrame:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, LOOKBACK + 3)))
    return pd.DataFrame(
        {
            "timestamp": pd.date_range("2020-01-01", periods=len(close), freq="1h", tz="UTC"),
            "open": close * 0.999,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "volume": np.arange(1.0, len(close) + 1),
        }
    )


@pytest.fixture
def served(store: Store, trained: Path) -> tuple[Any, str]:
    with open_run("bitcoin", "lstm", key="k", store=store, strict=True) as recorder:
        recorder.model(trained)
    location = store.client.get_logged_model(str(find_model(store.client, str(recorder.run_id)))).artifact_location
    shutil.rmtree(trained)  # the logged model needs nothing of the project's folder
    from mlflow.pyfunc import load_model

    return load_model(location), location


def test_the_logged_model_forecasts_like_the_stored_one(
    store: Store, trained: Path, bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    expected = load(trained).predict(bars)
    with open_run("bitcoin", "lstm", key="k", store=store, strict=True) as recorder:
        recorder.model(trained)
    from mlflow.pyfunc import load_model

    model_id = find_model(store.client, str(recorder.run_id))
    forecasts = load_model(store.client.get_logged_model(str(model_id)).artifact_location).predict(bars)
    assert len(forecasts) == 3  # seven bars: the first gives a return only, then windows end at bars 5, 6 and 7
    assert list(forecasts) == ["origin", "horizon", "last_close", "forecast"]
    assert forecasts["forecast"].tolist() == expected["forecast"].tolist()
    assert [pd.Timestamp(origin) for origin in forecasts["origin"]] == expected["origin"].tolist()


def test_json_with_iso_strings_and_whole_numbers_is_answered_as_by_the_server(
    served: tuple[Any, str], bars: pd.DataFrame
) -> None:
    from mlflow.pyfunc.scoring_server import invocations

    model, _ = served
    expected = model.predict(bars)
    records = bars.assign(timestamp=[stamp.isoformat() for stamp in bars["timestamp"]]).to_dict("records")
    answer = invocations(
        json.dumps({"dataframe_records": records}), "application/json", model, model.metadata.get_input_schema()
    )
    assert answer.status == 200
    predictions = json.loads(answer.response)["predictions"]
    assert predictions[-1]["origin"] == "2020-01-01T06:00:00+00:00"
    assert [row["forecast"] for row in predictions] == expected["forecast"].tolist()
    whole = [{**row, "volume": round(row["volume"])} for row in records]
    again = invocations(
        json.dumps({"dataframe_records": whole}), "application/json", model, model.metadata.get_input_schema()
    )
    assert json.loads(again.response)["predictions"] == predictions


def test_the_input_example_is_what_the_model_forecasts_from(served: tuple[Any, str]) -> None:
    model, _ = served
    example = model.input_example
    assert list(example) == ["timestamp", "open", "high", "low", "close", "volume"]
    assert len(example) == LOOKBACK + 1
    (forecast,) = model.predict(example)["last_close"]
    assert forecast == 111.0  # the last close of the test part of the folder's forecasts


def test_the_signature_names_raw_bars_and_a_price(served: tuple[Any, str]) -> None:
    schema = served[0].metadata.signature
    bars = ["timestamp", "open", "high", "low", "close", "volume"]
    assert schema.inputs.input_names() == [*bars, "realised_variance"]
    assert schema.inputs.required_input_names() == bars[:-1]  # some series have no volume, and few finer bars
    forecast = ["origin", "horizon", "last_close", "forecast"]
    moves = [f"{name}_{rank}" for name in ("move", "chance") for rank in range(1, 6)]
    assert schema.outputs.input_names() == [*forecast, "q05", "q25", "q50", "q75", "q95", *moves]
    assert schema.outputs.required_input_names() == forecast


def test_example_bars_are_real_closes_and_valid_bars(model_folder: Path) -> None:
    example = example_bars(model_folder)
    assert example["close"].tolist() == [107.0, 108.0, 109.0, 110.0, 111.0]
    assert example["open"].tolist() == [107.0, 107.0, 108.0, 109.0, 110.0]
    assert example["timestamp"].iloc[-1] == "2019-01-01T11:00:00+00:00"
    assert (example["high"] >= example[["open", "close"]].max(axis=1)).all()
    assert (example["low"] <= example[["open", "close"]].min(axis=1)).all()


def test_example_bars_of_a_test_part_shorter_than_a_window_are_padded(make_model_folder: Callable[..., Path]) -> None:
    folder = make_model_folder()
    forecasts = pd.read_parquet(folder / "forecasts.parquet")
    forecasts[:6].to_parquet(folder / "forecasts.parquet")
    assert example_bars(folder)["close"].tolist() == [104.0, 104.0, 104.0, 104.0, 105.0]


def test_a_folder_without_manifest_is_no_model(store: Store, model_folder: Path) -> None:
    (model_folder / "manifest.json").unlink()
    with (
        pytest.raises(ModelError, match=r"manifest\.json can't be read"),
        open_run("bitcoin", "lstm", key="k", store=store) as recorder,
    ):
        recorder.model(model_folder)
