"""`carrossel probe` and `carrossel verdict`: what they print, and when they fail."""

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from carrossel.bars.store import write_bars
from carrossel.cli import app
from carrossel.windows.features import FEATURES


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def asked(project, make_bars):
    """Two datasets with bars, of which `two` is asked for volatility on one feature; `asked(features)` changes those of `one`."""

    def write(features=("log_return", "log_range")):
        params = yaml.safe_load((project / "params.yaml").read_text())
        source = {"source": {"kind": "sample", "name": "bitcoin"}, "calendar": "24/7", "interval": "1h"}
        params["datasets"] = {
            "one": source,
            "two": {**source, "target": {"kind": "volatility"}, "windows": {"features": ["log_return"]}},
        }
        params["windows"].update(lookback=4, horizon=[1, 2], features=list(features))
        (project / "params.yaml").write_text(yaml.safe_dump(params))

    write()
    (project / "data" / "bars").mkdir(parents=True)
    for name in ("one", "two"):
        write_bars(project / "data" / "bars" / f"{name}.parquet", make_bars(120, missing=(30,)))
    return write


def test_each_dataset_without_a_leak_gets_a_line(asked):
    found = run("probe")
    assert found.output.splitlines() == [
        "one: 2 features, the target and the scalers know nothing of the future (probed at 5 bars)",
        "two: 1 feature, the target and the scalers know nothing of the future (probed at 5 bars)",
    ]
    assert found.exit_code == 0
    assert run("probe", "two").output.splitlines() == found.output.splitlines()[1:]


def test_a_planted_leak_is_named_and_fails_though_a_later_dataset_has_none(asked, monkeypatch):
    monkeypatch.setitem(FEATURES, "tomorrow", lambda bars: np.append(bars["close"].to_numpy()[1:], np.nan))
    asked(features=["log_return", "tomorrow"])
    found = run("probe")
    assert found.exit_code == 1
    lines = found.output.splitlines()
    assert lines[-1].startswith("two: 1 feature, ")
    assert all(line.startswith("one: ") for line in lines[:-1])
    assert "one: feature tomorrow at row 20 changes from " in found.output
    assert "log_return" not in found.output
    assert run("probe", "two").exit_code == 0


def test_a_dataset_without_bars_or_none_at_all_is_one_line(asked, project):
    (project / "data" / "bars" / "one.parquet").unlink()
    found = run("probe")
    assert found.exit_code == 1
    assert found.output.startswith("carrossel: ")
    assert found.output.endswith("one.parquet doesn't exist. Run: dvc repro prepare@one\n")
    unknown = run("probe", "three")
    assert unknown.exit_code == 1
    assert "has no key 'three'; it has: one, two." in unknown.output


def test_the_verdict_is_of_the_datasets_in_params_yaml_alone(asked, project):
    folder = project / "reports" / "evaluation"
    folder.mkdir(parents=True)
    for name in ("gone", "two"):
        (folder / f"{name}.json").write_text(json.dumps({"verdict": f"{name}: no skill.", "registration": "none"}))
    assert run("verdict").output == "two: no skill.\n  none\n"
    (folder / "two.json").unlink()
    assert "no evaluation yet" in run("verdict").output
