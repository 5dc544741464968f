"""The server: raw bars in, the champion's forecast out; a clear 4xx for what it can't answer, and never a 5xx."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
import schemathesis
import torch
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from prometheus_client.parser import text_string_to_metric_families
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from carrossel import cells
from carrossel.bars.config import Dataset
from carrossel.config import load_params
from carrossel.errors import ModelError, SeriesTooShort, ServingError
from carrossel.forecaster.heads.base import read_head
from carrossel.forecaster.network import Network
from carrossel.forecaster.onnx import write_onnx
from carrossel.forecaster.stored import load, save
from carrossel.online.champion import Champion, find_champion
from carrossel.online.config import Serve
from carrossel.online.serving.answering import Forecasting
from carrossel.online.serving.app import create_app
from carrossel.online.serving.forecasting import LightForecaster
from carrossel.online.serving.metrics import Metrics
from carrossel.online.serving.models import ServedModels
from carrossel.online.serving.reading import Refused, read_query
from carrossel.online.serving.server import _start_workers, listen, read_token, serve
from carrossel.online.serving.spacing import Spacing
from carrossel.targets.base import TargetConfig, make_target
from carrossel.training.outputs import describe_interval
from carrossel.windows.columns import BarColumns
from carrossel.windows.config import Windows
from carrossel.windows.features import FEATURES
from carrossel.windows.forecast_rows import describe_windows
from carrossel.windows.tensor import window_series

FEW = ("log_return", "log_volume_change", "hour_sin")
LOOKBACK = 6


def write_model(folder, bars, *, target="log_return", head="point", horizon=1, features=FEW, seed=3, **cell):
    """A model folder with untrained weights."""
    windows = Windows(lookback=LOOKBACK, horizon=horizon, features=features)
    asked = TargetConfig(kind=target)
    section = read_head({"kind": head}, asked)
    data = window_series(bars, windows, make_target(asked))
    config = cells.registry.load("lstm").Config(hidden_size=4, **cell)
    network = Network("lstm", config, len(features), seed, section, len(windows.horizons)).eval()
    network.head.prepare(data.labels[torch.from_numpy(data.split.train)])
    widths = [0.01 * (place + 1) for place in range(len(windows.horizons))]
    manifest = {
        "dataset": "bitcoin",
        "competitor": "lstm",
        "cell": {"kind": "lstm", "config": config.model_dump(mode="json")},
        "windows": windows.model_dump(mode="json"),
        "target": asked.model_dump(mode="json"),
        "head": section.model_dump(mode="json"),
        "scalers": {"features": data.feature_scaler.as_dict(), "label": data.label_scaler.as_dict()},
        **describe_windows(data),
        "interval": None
        if target == "direction"
        else {"level": 0.9, "relative": data.target.unit == "price", "half_width": widths},
    }
    folder.mkdir(parents=True, exist_ok=True)
    save(folder, network, manifest)
    write_onnx(folder / "model.onnx", network)
    return folder


def as_body(bars, **more):
    columns = {name: bars[name].tolist() for name in ("open", "high", "low", "close", "volume")}
    stamps = [stamp.strftime("%Y-%m-%dT%H:%M:%SZ") for stamp in bars["timestamp"]]
    return {"bars": {"timestamp": stamps, **columns}, **more}


class Registry:
    """Stands for the registry: who is champion is what a test says."""

    def __init__(self):
        self.champions = {}
        self.error = None

    def __call__(self, dataset):
        if self.error is not None:
            raise self.error
        folder = self.champions.get(dataset)
        if folder is None:
            return Champion(dataset, None, None, f"persistence serves: {dataset} has no champion")
        return Champion(dataset, folder.name, folder, f"version {folder.name} is {dataset}'s champion")


@pytest.fixture
def registry():
    return Registry()


class Client:
    """A server in a thread, and requests to it."""

    def __init__(self, app):
        self.listener = listen("127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})
        self.session = requests.Session()

    def __enter__(self):
        self.thread.start()
        while not self.server.started and self.thread.is_alive():
            threading.Event().wait(0.005)
        return self

    def __exit__(self, *_):
        self.session.close()
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()

    def get(self, path, **options):
        return self.session.get(self.address + path, timeout=10, **options)

    def post(self, path, *, content=None, headers=None, **options):
        return self.session.post(self.address + path, data=content, headers=headers, timeout=10, **options)


@pytest.fixture
def make_client(registry):
    with contextlib.ExitStack() as stack:

        def make(datasets=("bitcoin",), token=None, **options):
            models = ServedModels(datasets, load_params(), registry)
            app = create_app(models, Serve(**{"refresh_seconds": 0.01, **options}), token)
            return stack.enter_context(Client(app))

        yield make


def wait_for(client, path, expected):
    for _ in range(500):
        if expected(found := client.get(path).json()):
            return found
        threading.Event().wait(0.01)
    raise AssertionError(found)


@pytest.mark.parametrize(
    ("target", "head", "horizon", "cell"),
    [
        ("log_return", "point", 1, {}),
        ("price", "quantiles", (1, 3), {}),
        ("direction", "probability", 2, {"layer_norm": True, "zoneout": 0.2}),
        ("volatility", "student_t", 1, {"bidirectional": True, "layers": 2}),
    ],
)
def test_the_light_forecaster_gives_the_stored_ones_numbers(target, head, horizon, cell, make_bars, tmp_path):
    bars = make_bars(400, missing=(350, 351))
    folder = write_model(tmp_path / "1", bars, target=target, head=head, horizon=horizon, **cell)
    expected, found = load(folder).predict(bars), LightForecaster.load(folder).predict(bars)
    assert len(found) == len(expected) > 300
    assert [name for name in expected if name in found] == list(expected)
    for name in expected:
        if name == "origin":
            assert found[name].tolist() == expected[name].tolist()
        else:
            # float32 in another order; what is near zero is as exact as its scale
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-6)
    newest = LightForecaster.load(folder).predict(bars, newest=True)
    pd.testing.assert_frame_equal(newest, found.tail(len(newest)).reset_index(drop=True), check_exact=False, rtol=1e-6)
    assert len(newest) == (2 if horizon == (1, 3) else 1)


def test_intervals_are_shares_of_the_last_close_for_prices_alone(make_bars, tmp_path):
    bars = make_bars(300)
    for target, unit in (("log_return", bars["close"].iloc[-1]), ("volatility", 1.0)):
        folder = write_model(tmp_path / target, bars, target=target, horizon=(1, 2))
        newest = LightForecaster.load(folder).predict(bars, newest=True)
        np.testing.assert_allclose(newest["upper"] - newest["forecast"], [0.01 * unit, 0.02 * unit], rtol=1e-9)
        np.testing.assert_allclose(newest["forecast"] - newest["lower"], [0.01 * unit, 0.02 * unit], rtol=1e-9)


def test_every_feature_of_plain_columns_is_that_of_a_frame(make_bars):
    bars = make_bars(900, missing=(100, 101, 500))
    for name, feature in FEATURES.items():
        # means by cumulative sums round at the size of the sum
        np.testing.assert_allclose(feature(BarColumns.of(bars)), feature(bars), rtol=1e-9, atol=1e-12, err_msg=name)


def test_it_needs_neither_torch_nor_mlflow(make_bars, tmp_path):
    bars = make_bars(100)
    folder = write_model(tmp_path / "1", bars)
    bars.drop(columns="status").to_json(tmp_path / "bars.json", orient="records", date_format="iso")
    code = (
        "import sys, pandas; from pathlib import Path\n"
        "from carrossel.online.serving.forecasting import LightForecaster\n"
        "import carrossel.online.serving.app, carrossel.online.serving.models, carrossel.online.serving.server\n"
        f"bars = pandas.read_json(r'{tmp_path / 'bars.json'}')\n"
        f"print(len(LightForecaster.load(Path(r'{folder}')).predict(bars)))\n"
        "print([name for name in ('torch', 'mlflow', 'pytorch_lightning', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [str(100 - LOOKBACK), "[]"], done.stderr


def test_a_forecast_over_http_is_the_models(make_client, registry, make_bars, tmp_path):
    bars = make_bars(300)
    folder = registry.champions["bitcoin"] = write_model(tmp_path / "7", bars, head="quantiles")
    client = make_client()
    tail = bars.tail(20)
    answer = client.post("/forecast", json=as_body(tail))
    expected = LightForecaster.load(folder).predict(tail, newest=True).iloc[0]
    assert answer.status_code == 200
    body = answer.json()
    assert (body["serves"], body["version"], body["unit"], body["level"]) == ("champion", "7", "price", 0.9)
    assert pd.Timestamp(body["origin"]) == tail["timestamp"].iloc[-1]
    (row,) = body["forecasts"]
    for name in ("forecast", "lower", "upper", "q05", "q95"):
        assert row[name] == pytest.approx(expected[name], rel=1e-6)
    rows = [
        dict(zip(as_body(tail)["bars"], values, strict=True))
        for values in zip(*as_body(tail)["bars"].values(), strict=True)
    ]
    assert client.post("/forecast", json={"dataset": "bitcoin", "bars": rows}).json() == body
    shown = client.get("/champion").json()[0]
    assert (shown["version"], shown["competitor"], shown["bars_needed"]) == ("7", "lstm", LOOKBACK + 1)


def test_without_a_champion_persistence_answers_and_says_so(make_client, make_bars):
    client, bars = make_client(("bitcoin", "bitcoin_volatility")), make_bars(3)
    price = client.post("/forecast", json=as_body(bars, dataset="bitcoin")).json()
    assert (price["serves"], price["version"], price["level"]) == ("persistence", None, None)
    assert price["forecasts"] == [{"horizon": 1, "forecast": pytest.approx(bars["close"].iloc[-1], rel=1e-12)}]
    assert "no champion" in price["reason"]
    moves = client.post("/forecast", json=as_body(bars, dataset="bitcoin_volatility")).json()
    expected = make_target(TargetConfig(kind="volatility")).unchanged(BarColumns.of(bars), 1)[-1]
    assert (moves["unit"], moves["forecasts"][0]["forecast"]) == ("log_variance", pytest.approx(expected))


def test_it_follows_the_alias_and_keeps_what_served_when_the_new_model_is_broken(
    make_client, registry, make_bars, tmp_path
):
    bars = make_bars(300)
    client, body = make_client(), as_body(bars.tail(20))
    assert client.post("/forecast", json=body).json()["serves"] == "persistence"
    registry.champions["bitcoin"] = write_model(tmp_path / "1", bars)
    wait_for(client, "/champion", lambda found: found[0]["version"] == "1")
    before = client.post("/forecast", json=body).json()
    broken = write_model(tmp_path / "2", bars, seed=4)
    (broken / "model.onnx").write_bytes((broken / "model.onnx").read_bytes()[:500])
    registry.champions["bitcoin"] = broken
    health = wait_for(client, "/health", lambda found: found["status"] == "degraded")
    assert "damaged model" in health["problems"][0]
    assert client.post("/forecast", json=body).json() == before
    registry.champions["bitcoin"] = write_model(tmp_path / "3", bars, seed=5)
    wait_for(client, "/health", lambda found: found["status"] == "ok")
    after = client.post("/forecast", json=body).json()
    assert after["version"] == "3"
    assert after["forecasts"] != before["forecasts"]
    registry.error = RuntimeError("the registry is on fire")
    assert "RuntimeError" in wait_for(client, "/health", lambda found: found["problems"])["problems"][0]
    assert client.post("/forecast", json=body).json() == after


def test_a_registry_that_is_away_is_a_problem_that_health_and_metrics_tell(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    now = pd.Timestamp("2020-03-01", tz="UTC")
    models = ServedModels(("bitcoin",), load_params(), partial(find_champion, root=project, expires=None, now=now))
    with Client(create_app(models, Serve(refresh_seconds=3600))) as client:
        health = client.get("/health").json()
        assert health["status"] == "degraded"
        assert "http://127.0.0.1:9" in health["problems"][0]
        assert client.get("/champion").json()[0]["problem"] == health["problems"][0]
        assert 'carrossel_champion_problem{dataset="bitcoin"} 1.0' in client.get("/metrics").text


def test_metrics_count_requests_and_name_the_version(make_client, registry, make_bars, tmp_path):
    bars = make_bars(300)
    registry.champions["bitcoin"] = write_model(tmp_path / "4", bars)
    client = make_client()
    client.post("/forecast", json=as_body(bars.tail(20)))
    client.post("/forecast", json={"dataset": "nonsense", **as_body(bars)})
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }
    assert samples["carrossel_forecast_requests_total", "bitcoin", "200"] == 1
    assert samples["carrossel_forecast_requests_total", "", "404"] == 1
    assert samples["carrossel_champion_version", "bitcoin"] == 4
    assert samples["carrossel_forecast_seconds_count",] == 2


def test_the_page_of_the_api_loads_nothing_from_elsewhere(make_client):
    client = make_client()
    page, description = client.get("/docs").text, client.get("/openapi.json").json()
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    assert all(path in page for path in description["paths"])
    assert set(description["paths"]) == {"/forecast", "/champion", "/health", "/metrics"}


def change(bars, **columns):
    body = as_body(bars)
    body["bars"] |= columns
    return body


GOOD = 10
REFUSALS = {
    "no bars": (lambda bars: {}, "bars must be an object"),
    "unknown key": (lambda bars: as_body(bars, bar=1), "unknown key 'bar'"),
    "unknown column": (lambda bars: change(bars, typical=[1.0] * GOOD), "unknown column 'typical'"),
    "column missing": (lambda bars: {"bars": {"timestamp": []}}, "lack the columns open, high, low, close"),
    "no list": (lambda bars: change(bars, close=3), "column close must be a list"),
    "lengths": (lambda bars: change(bars, close=[3.0]), "column close has 1 values, timestamp 10"),
    "no rows": (lambda bars: as_body(bars.head(0)), "bars has 0 rows"),
    "no number": (lambda bars: change(bars, close=["3"] * GOOD), "column close must hold numbers"),
    "a truth": (lambda bars: change(bars, volume=[True] * GOOD), "column volume must hold numbers"),
    "null": (lambda bars: change(bars, close=[1.0] * 9 + [None]), "column close must be a number above 0; row 9"),
    "negative price": (lambda bars: change(bars, low=[-1.0] * GOOD), "column low must be a number above 0; row 0"),
    "negative volume": (lambda bars: change(bars, volume=[1.0, -1.0] * 5), "column volume must be null or a number"),
    "high below low": (lambda bars: change(bars, high=[1.0] * GOOD), "column high must not be below low"),
    "too large": (lambda bars: change(bars, open=[10**400] * GOOD), "infinity"),
    "unordered": (lambda bars: as_body(bars[::-1]), "oldest first, each timestamp once: row 1 is before"),
    "repeated": (lambda bars: as_body(bars.iloc[[0, 1, 1, *range(3, GOOD)]]), "row 2 repeats"),
    "no time": (lambda bars: change(bars, timestamp=["tomorrow"] * GOOD), "ISO 8601 was expected"),
    "a number as time": (lambda bars: change(bars, timestamp=list(range(GOOD))), "must hold ISO 8601 strings"),
    "month 13": (lambda bars: change(bars, timestamp=["2020-13-01T00:00:00Z"] * GOOD), "ISO 8601 was expected"),
    "two times in one": (
        lambda bars: change(bars, timestamp=["2020-01-01T00:00\n2020-01-01T01:00"] + ["2020-01-02T00:00"] * 9),
        "ISO 8601 was expected",
    ),
    "far future": (lambda bars: change(bars, timestamp=["9999-01-01T00:00:00Z"] * GOOD), "between 1900 and 2200"),
    "too few": (lambda bars: as_body(bars.tail(LOOKBACK)), f"need at least {LOOKBACK + 1}"),
    "bars of another length": (
        lambda bars: change(bars, timestamp=[f"2020-01-{day:02}T00:00:00Z" for day in range(1, GOOD + 1)]),
        f"rows 3 and 4 (from 0) are 1d apart; this dataset's newest {LOOKBACK + 1} bars must be 1h apart",
    ),
    "a hole": (
        lambda bars: as_body(pd.concat([bars.iloc[:4], bars.iloc[6:]])),
        "rows 3 and 4 (from 0) are 3h apart",
    ),
    "no volume": (lambda bars: change(bars, volume=[None] * GOOD), "log_volume_change"),
    "different rows": (lambda bars: {"bars": [{"timestamp": "x"}, {}]}, "all bars must have the same keys"),
    "too many": (lambda bars: {"bars": [{}] * 51}, "at most 50"),
}


def test_what_cannot_be_answered_is_refused_with_the_reason(make_client, registry, make_bars, tmp_path):
    bars = make_bars(300)
    registry.champions["bitcoin"] = write_model(tmp_path / "1", bars)
    client = make_client(most_bars=50)
    for name, (make, expected) in REFUSALS.items():
        answer = client.post(
            "/forecast", content=json.dumps(make(bars.tail(GOOD))), headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, expected in answer.json()["detail"]) == (422, True), (name, answer.text)


def test_holes_before_the_bars_that_are_needed_do_no_harm(make_client, registry, make_bars, tmp_path):
    bars = make_bars(300)
    registry.champions["bitcoin"] = write_model(tmp_path / "1", bars)
    tail = bars.tail(20).drop(index=bars.index[-9])
    assert make_client().post("/forecast", json=as_body(tail)).status_code == 200


def test_an_exchanges_bars_may_lie_further_apart_than_they_are_long_but_not_nearer():
    daily = Spacing.of(
        Dataset.model_validate({"source": {"kind": "sample", "name": "google"}, "calendar": "XNYS", "interval": "1d"})
    )
    days = ["2019-07-03", "2019-07-05", "2019-07-08"]  # a holiday, a weekend
    daily.check(np.array(days, "datetime64[ns]"), 3)
    hours = np.array(["2019-07-03T14:30", "2019-07-03T15:30"], "datetime64[ns]")
    with pytest.raises(Refused, match="are 1h apart; this dataset's bars must be at least 1d apart"):
        daily.check(hours, 1)


def test_a_failure_that_nobody_foresaw_is_counted_and_told_in_one_line(
    make_client, registry, make_bars, tmp_path, monkeypatch, caplog
):
    bars = make_bars(300)
    registry.champions["bitcoin"] = write_model(tmp_path / "1", bars)
    client = make_client()

    def fail(*_arguments, **_keys):
        raise ZeroDivisionError("the cause")

    monkeypatch.setattr(LightForecaster, "forecast", fail)
    answer = client.post("/forecast", json=as_body(bars.tail(20)))
    assert (answer.status_code, answer.json()) == (500, {"detail": "the forecast failed; the server's log says why."})
    assert 'carrossel_forecast_requests_total{dataset="bitcoin",status="500"} 1.0' in client.get("/metrics").text
    assert "the cause" in caplog.text


def test_the_time_of_a_forecast_is_counted_from_its_whole_body_on(registry, make_bars, monkeypatch):
    clock = {"now": 0.0}
    monkeypatch.setattr("carrossel.online.serving.answering.perf_counter", lambda: clock["now"])
    metrics = Metrics()
    forecasting = Forecasting(ServedModels(("bitcoin",), load_params(), registry), Serve(), metrics)
    body, statuses = json.dumps(as_body(make_bars(3))).encode(), []

    async def receive():
        clock["now"] += 100.0  # a slow client
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        statuses.append(message.get("status"))
        clock["now"] += 0.25

    for kind in (b"application/json", b"text/plain"):
        asyncio.run(forecasting({"headers": [(b"content-type", kind)]}, receive, send))

    assert statuses == [200, None, 415, None]
    text = metrics.text().decode()
    assert "carrossel_forecast_seconds_sum 0.5" in text
    assert "carrossel_forecast_seconds_count 1.0" in text  # a body that isn't read has no such time


def test_refusals_by_status(make_client, make_bars):
    served = ("bitcoin", "bitcoin_volatility")
    client, body = make_client(served, largest_body=2_000), as_body(make_bars(3), dataset=served[1])
    assert client.post("/forecast", json=body).status_code == 200
    assert client.post("/forecast", json=body | {"dataset": "gold"}).status_code == 404
    assert ", ".join(served) in client.post("/forecast", json={"bars": body["bars"]}).json()["detail"]
    assert client.post("/forecast", content=b"{}").status_code == 415
    assert client.post("/forecast", content={"bars": "1"}).status_code == 415
    assert client.post("/forecast", json={"bars": "x" * 3_000}).status_code == 413
    chunks = (b" " * 1_000 for _ in range(5))
    assert client.post("/forecast", content=chunks, headers={"Content-Type": "application/json"}).status_code == 413
    assert client.post("/forecast", content=b"{nope", headers={"Content-Type": "application/json"}).status_code == 422
    assert client.get("/forecast").status_code == 405
    assert client.get("/nowhere").status_code == 404


def test_times_may_be_written_in_several_ways():
    bars = {name: [1.0, 1.0] for name in ("open", "high", "low", "close")}
    for stamps in (
        ["2020-01-01T00:00:00Z", "2020-01-01T01:00:00Z"],
        ["2020-01-01T00:00:00+00:00", "2020-01-01T01:00:00+00:00"],
        ["2020-01-01 00:00", "2020-01-01 01:00"],
        ["2020-01-01T01:00:00+01:00", "2020-01-01T02:00:00+01:00"],
        ["2020-01-01T00:00:00.000000Z", "2020-01-01T01:00:00+00:00"],
    ):
        found = read_query(json.dumps({"bars": {"timestamp": stamps, **bars}}).encode(), 10).bars.timestamps
        assert found.tolist() == np.array(["2020-01-01T00", "2020-01-01T01"], "datetime64[ns]").tolist()
    with pytest.raises(Refused, match="ISO 8601"):
        read_query(json.dumps({"bars": {"timestamp": ["NaT", "now"], **bars}}).encode(), 10)


def test_a_token_is_asked_for_everywhere_but_at_health(make_client, make_bars, capfd):
    token = "s3cret"  # noqa: S105 - no secret
    client, body = make_client(token=token), as_body(make_bars(3))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}):
        answer = client.post("/forecast", json=body, headers=headers)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert client.get("/champion", headers=headers).status_code == 401
    allowed = {"Authorization": "Bearer s3cret"}
    assert client.post("/forecast", json=body, headers=allowed).status_code == 200
    assert client.get("/metrics", headers=allowed).status_code == 200
    assert client.get("/health").status_code == 200
    assert "s3cret" not in "".join(capfd.readouterr())


def test_an_address_open_to_others_wants_a_token():
    everywhere = Serve(host="0.0.0.0")  # noqa: S104 - that is what is refused
    with pytest.raises(ServingError, match="set CARROSSEL_TOKEN to a token"):
        read_token(everywhere, {})
    assert read_token(everywhere, {"CARROSSEL_TOKEN": "abc"}) == "abc"
    assert read_token(Serve(), {"CARROSSEL_TOKEN": ""}) is None
    with pytest.raises(ServingError, match="printable ASCII"):
        read_token(Serve(), {"CARROSSEL_TOKEN": "a b"})


def test_a_port_that_is_taken_is_said_so(project):
    with listen("127.0.0.1", 0) as listener, pytest.raises(ServingError, match="End what uses it"):
        serve(port=listener.getsockname()[1])


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_a_folder_that_lacks_a_file_is_no_model(name, make_bars, tmp_path):
    folder = write_model(tmp_path / "1", make_bars(300))
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        LightForecaster.load(folder)


def test_a_network_of_another_manifest_is_refused(make_bars, tmp_path):
    bars = make_bars(300)
    one, other = write_model(tmp_path / "1", bars), write_model(tmp_path / "2", bars, features=("log_return",))
    shutil.copy(other / "model.onnx", one)
    with pytest.raises(ModelError, match="damaged model"):
        LightForecaster.load(one)


def test_bars_without_a_complete_window_say_what_is_missing(make_bars, tmp_path):
    bars = make_bars(300, missing=(297,))
    forecaster = LightForecaster.load(write_model(tmp_path / "1", make_bars(300)))
    assert len(forecaster.predict(bars)) > 200
    with pytest.raises(SeriesTooShort, match="log_return, log_volume_change has no value"):
        forecaster.predict(bars, newest=True)


def test_half_widths_are_the_conformal_quantile_of_each_horizons_errors():
    errors = np.arange(1.0, 20)  # 19 errors: the 18th smallest of them, since (19 + 1) · 0.9 = 18
    rows = pd.concat(
        pd.DataFrame({"horizon": horizon, "truth": 100 + factor * errors, "forecast": 100.0, "last_close": 50.0})
        for horizon, factor in ((1, 1), (2, -2))
    )
    assert describe_interval(rows, "log_variance", (1, 2)) == {
        "level": 0.9,
        "relative": False,
        "half_width": [18.0, 36.0],
    }
    assert describe_interval(rows, "price", (1, 2)) == {"level": 0.9, "relative": True, "half_width": [0.36, 0.72]}
    assert describe_interval(rows, "probability", (1, 2)) is None
    assert describe_interval(rows[rows["truth"].sub(100).abs() < 9], "price", (1, 2)) is None


def test_fuzzing_finds_no_server_error(registry, make_bars, tmp_path):
    registry.champions["bitcoin"] = write_model(tmp_path / "1", make_bars(300), head="quantiles")
    models = ServedModels(("bitcoin",), load_params(), registry)
    models.refresh()
    app = create_app(models, Serve(most_bars=20))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    statuses = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:

            @settings(
                max_examples=12 if operation.method == "post" else 1,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def fuzz(case):
                response = case.call()
                statuses.add(response.status_code)
                case.validate_response(
                    response, checks=[not_a_server_error, status_code_conformance, response_schema_conformance]
                )

            with contextlib.suppress(Unsatisfiable):  # nothing about a GET without parameters can be wrong
                fuzz()
    assert statuses >= {200, 422}


def test_workers_share_a_port_that_no_other_program_can_take():
    with listen("127.0.0.1", 0, shared=True) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", port, shared=True), pytest.raises(ServingError, match="End what uses it"):
            listen("127.0.0.1", port)


def test_workers_count_together(tmp_path):
    code = (
        "from carrossel.online.serving.metrics import Metrics; m = Metrics(); "
        "m.count('bitcoin', 200, 0.001); print(m.text().decode())"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for asked in (1, 2):
        text = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout
        assert f'carrossel_forecast_requests_total{{dataset="bitcoin",status="200"}} {asked}.0' in text


def test_further_workers_are_started_beside_the_server_and_stopped_with_it(tmp_path, monkeypatch):
    started, stopped = [], []
    monkeypatch.setattr("carrossel.online.children.start", lambda *command: started.append(command) or "a worker")
    monkeypatch.setattr("carrossel.online.children.stop", stopped.append)
    with ExitStack() as stack:
        _start_workers(stack, 1, "bitcoin", 8123, tmp_path)
        assert Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).is_dir()

    assert started == [("carrossel", ["serve", "--worker", "--port", "8123", "--dataset", "bitcoin"], tmp_path)]
    assert stopped == ["a worker"]
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
