"""The stage `train` as DVC runs it: a process of its own that may be killed."""

import json
import os
import signal
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from carrossel.bars.store import write_bars

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def small_project(project, make_bars):
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["windows"].update(lookback=8)
    params["training"].update(epochs=3, patience=9, batch_size=4, probe_windows=4)
    params["cells"]["gru"] = {"hidden_size": 4, "layers": 2, "dropout": 0.2}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    (project / "data" / "bars").mkdir(parents=True)
    write_bars(
        project / "data" / "bars" / "bitcoin.parquet", make_bars(2500)
    )  # epochs of a second or two: a kill must meet the process at work
    return project


def start(project, cell="gru"):
    return subprocess.Popen(
        [sys.executable, "pipeline/train.py", "bitcoin", cell],
        cwd=project,
        # nobody there: half of a small training's time would go into its run
        env={**os.environ, "CARROSSEL_ROOT": str(project), "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def results(folder):
    return {
        "weights": (folder / "model.safetensors").read_bytes(),
        "forecasts": pd.read_parquet(folder / "forecasts.parquet"),
        **{file.stem: file.read_text() for file in folder.glob("*.csv")},
    }


def test_a_killed_training_ends_as_an_undisturbed_one(small_project):
    folder = small_project / "models" / "bitcoin" / "gru"
    undisturbed = start(small_project)
    output, _ = undisturbed.communicate()
    assert undisturbed.returncode == 0, output
    expected = results(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["data_sha256"]
    assert manifest["code_revision"]
    assert manifest["training"]["seed"] == 1

    process = start(small_project)
    for line in process.stdout:
        if "epoch 2/3" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # what an earlier training left is still whole
    assert results(folder)["weights"] == expected["weights"]
    last = start(small_project)
    output, _ = last.communicate()
    assert last.returncode == 0, output
    assert "resuming from" in output
    assert "epoch 1/3" not in output
    found = results(folder)
    pd.testing.assert_frame_equal(found.pop("forecasts"), expected.pop("forecasts"))
    assert found == expected
    assert list((small_project / ".carrossel" / "checkpoints").iterdir()) == []


def test_a_series_too_short_is_one_line_and_leaves_the_model_alone(small_project, make_bars):
    folder = small_project / "models" / "bitcoin" / "gru"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    write_bars(small_project / "data" / "bars" / "bitcoin.parquet", make_bars(30))
    process = start(small_project)
    output, _ = process.communicate()
    assert process.returncode == 1
    assert output.startswith("train@bitcoin-gru: bitcoin has 30 bars")
    assert output.count("\n") == 1
    assert (folder / "manifest.json").read_text() == "{}"
