from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from carrossel.errors import ModelError
from carrossel.recorder import MemoryRecorder
from carrossel.tracking.figures import draw_forecast
from carrossel.tracking.mlflow_recorder import open_run
from carrossel.tracking.models import find_model
from carrossel.tracking.relog import (
    flatten,
    log_model_folder,
    model_key,
    sync,
    sync_evaluation,
    sync_project,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carrossel.tracking.store import Store

EPOCHS = [
    {"train_loss": 1 / 3, "validation_loss": 0.75, "learning_rate": 0.1, "seconds": 2.5},
    {"train_loss": 0.25, "validation_loss": 0.5, "learning_rate": 0.1, "seconds": 2.25},
]


def _train(store: Store, folder: Path) -> str:
    """What the stage train does: metrics live, the rest when the folder is written."""
    with open_run("bitcoin", folder.name, key="training", store=store, strict=True) as recorder:
        for epoch, row in enumerate(EPOCHS):
            recorder.metrics(row, step=epoch)
        log_model_folder(recorder, folder)
    return str(recorder.run_id)


def _content(store: Store, run_id: str, root: Path) -> dict[str, Any]:
    run = store.client.get_run(run_id)
    artifacts = root / "mlruns" / "bitcoin" / run_id / "artifacts"
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "params": run.data.params,
        "metrics": {
            name: [(metric.step, metric.value) for metric in store.client.get_metric_history(run_id, name)]
            for name in run.data.metrics
        },
        "files": {
            file.relative_to(artifacts).as_posix(): file.read_bytes() for file in artifacts.rglob("*") if file.is_file()
        },
        "models": len(run.outputs.model_outputs),
        "tags": {name: run.data.tags[name] for name in ("dataset", "competitor", "cell", "seed", "carrossel.key")},
    }


def test_key_changes_with_each_of_its_files(make_model_folder: Callable[..., Path]) -> None:
    folder = make_model_folder()
    keys = {model_key(folder)}
    for name in ("manifest.json", "model.safetensors", "forecasts.parquet"):
        with (folder / name).open("ab") as file:
            file.write(b" ")
        keys.add(model_key(folder))
    assert len(keys) == 4
    (folder / "history.csv").write_text("")
    assert model_key(folder) in keys


def test_key_of_an_incomplete_folder_names_the_missing_file(model_folder: Path) -> None:
    (model_folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing. Train it again"):
        model_key(model_folder)


def test_params_are_dotted_and_lists_are_json() -> None:
    nested = {"cell": {"kind": "lstm", "config": {"hidden_size": 32}}, "features": ["a", "b"], "seed": 1}
    assert flatten(nested) == {
        "cell.kind": "lstm",
        "cell.config.hidden_size": 32,
        "features": '["a", "b"]',
        "seed": 1,
    }


def test_a_folder_is_logged_with_params_figures_files_and_its_key(model_folder: Path) -> None:
    recorder = MemoryRecorder()
    log_model_folder(recorder, model_folder)
    assert recorder.seen_params["cell.config.hidden_size"] == 3
    assert recorder.seen_params["windows.features"] == '["log_return"]'
    assert recorder.seen_metrics == [(0, {"epochs": 2.0, "best_validation_loss": 0.5, "parameters": 17.0})]
    assert set(recorder.seen_figures) == {
        f"figures/{name}.png"
        for name in (
            "forecast",
            "dashboard",
            "gradient_by_lag_h",
            "gradient_by_lag_C",
            "gradient_heatmap",
            "tensors",
            "spectral_radius",
        )
    }
    assert {file.name for _, file in recorder.seen_artifacts} == {
        "manifest.json",
        "forecasts.parquet",
        "history.csv",
        "gradient_by_lag.csv",
        "tensors.csv",
        "spectrum.csv",
    }
    assert recorder.seen_tags["carrossel.key"] == model_key(model_folder)
    assert recorder.seen_tags["git_commit"] == "0123abc-dirty"
    assert recorder.seen_tags["mlflow.source.git.commit"] == "0123abc"


def test_the_tables_of_the_cell_lab_are_logged_with_a_figure_each(model_folder: Path) -> None:
    tables = {
        "sensitivity": "epoch,lag,norm\n0,0,1.0\n0,1,0.5\n",
        "gates": "epoch,layer,gate,unit,shut,open\n0,0,input,0,0.25,0.5\n",
        "kept": "epoch,layer,lag,kept\n0,0,0,1.0\n0,0,1,0.5\n0,0,2,0.25\n",
        "jacobians": "epoch,layer,lag,product,step\n0,0,0,1.0,0.5\n0,0,1,0.5,0.75\n0,0,2,0.375,\n",
        "lyapunov": "epoch,layer,rank,exponent\n0,0,1,-0.5\n0,0,2,-inf\n",
    }
    for name, text in tables.items():
        (model_folder / f"{name}.csv").write_text(text)
    recorder = MemoryRecorder()
    log_model_folder(recorder, model_folder)
    assert {f"{name}.csv" for name in tables} < {file.name for _, file in recorder.seen_artifacts}
    figures = {
        name: recorder.seen_figures[f"figures/{name}.png"]
        for name in (
            "dashboard",
            "sensitivity_by_lag",
            "gate_saturation",
            "kept_by_lag",
            "jacobian_norms",
            "lyapunov_exponents",
        )
    }
    assert figures["dashboard"].get_suptitle() == "bitcoin lstm: inside the cell (panels of one moment: after epoch 1)"
    products, steps = (axes.lines[0].get_ydata().tolist() for axes in figures["jacobian_norms"].axes)
    assert (products, steps) == ([1.0, 0.5, 0.375], [0.75, 0.5])  # by lag; by step, the first one first


def test_tables_with_a_header_alone_leave_out_their_figures(model_folder: Path) -> None:
    headers = {
        "gradient_by_lag": "epoch,layer,lag,h,c",
        "spectrum": "epoch,layer,gate,spectral_radius,largest_singular_value",
        "sensitivity": "epoch,lag,norm",
        "gates": "epoch,layer,gate,unit,shut,open",
        "kept": "epoch,layer,lag,kept",
    }
    for name, text in headers.items():
        (model_folder / f"{name}.csv").write_text(f"{text}\n")
    recorder = MemoryRecorder()
    log_model_folder(recorder, model_folder)
    assert set(recorder.seen_figures) == {f"figures/{name}.png" for name in ("forecast", "dashboard", "tensors")}


def test_a_run_logged_again_equals_the_live_one(store: Store, model_folder: Path, tmp_path: Path) -> None:
    live = _train(store, model_folder)
    before = _content(store, live, tmp_path)
    store.client.delete_run(live)
    (again,) = sync(tmp_path / "models", store=store)
    assert again.created
    assert again.run_id != live
    assert _content(store, again.run_id, tmp_path) == before
    assert before["metrics"]["train_loss"] == [(0, 1 / 3), (1, 0.25)]
    assert before["status"] == "FINISHED"
    assert before["models"] == 1


@pytest.mark.usefixtures("plain_figures")
def test_no_pickle_is_logged(store: Store, model_folder: Path, tmp_path: Path) -> None:
    _train(store, model_folder)
    names = [file.name for file in (tmp_path / "mlruns").rglob("*") if file.is_file()]
    assert "model.safetensors" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin"))]


@pytest.mark.usefixtures("plain_figures")
def test_what_the_server_has_is_not_logged_again(store: Store, model_folder: Path, tmp_path: Path) -> None:
    run_id = _train(store, model_folder)
    assert [(run.run_id, run.created) for run in sync(tmp_path / "models", store=store)] == [(run_id, False)]


@pytest.mark.usefixtures("plain_figures")
def test_a_run_that_did_not_finish_is_made_again(store: Store, model_folder: Path, tmp_path: Path) -> None:
    run_id = _train(store, model_folder)
    store.client.set_terminated(run_id, "FAILED")
    (again,) = sync(tmp_path / "models", store=store)
    assert again.created


@pytest.mark.usefixtures("plain_figures")
def test_every_dataset_and_competitor_is_logged_and_a_broken_folder_is_told(
    store: Store, make_model_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_model_folder("lstm")
    make_model_folder("gru", dataset="google")
    (make_model_folder("rnn") / "forecasts.parquet").unlink()
    logged = sync(tmp_path / "models", store=store)
    assert [(run.dataset, run.competitor) for run in logged] == [("bitcoin", "lstm"), ("google", "gru")]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "bitcoin/rnn" in said
    assert "forecasts.parquet is missing" in said


def test_a_table_that_cannot_be_read_leaves_no_finished_run(store: Store, model_folder: Path, tmp_path: Path) -> None:
    (model_folder / "spectrum.csv").unlink()
    assert sync(tmp_path / "models", store=store) == []
    experiment = store.client.get_experiment_by_name("bitcoin")
    (run,) = store.client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert "spectrum.csv" in run.data.tags["carrossel.ended"]


def test_nothing_trained_asks_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert sync_project(tmp_path) == []


@pytest.mark.usefixtures("plain_figures")
def test_an_evaluation_is_logged_onto_the_competitors_runs_once(
    store: Store, make_model_folder: Callable[..., Path], make_evaluation: Callable[..., Any], tmp_path: Path
) -> None:
    make_model_folder("lstm")
    make_model_folder("gru", seed=2)
    file = tmp_path / "reports" / "evaluation" / "bitcoin.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(make_evaluation(lstm=(0.25, -0.5), gru=(0.125, 0.0625))))
    logged = sync_project(tmp_path, store=store)
    sync_project(tmp_path, store=store)
    runs = {run.competitor: run.run_id for run in logged}
    metrics = store.client.get_run(runs["lstm"]).data.metrics
    assert {name: value for name, value in metrics.items() if "/" in name} == {
        "validation/rmse": 0.875,
        "validation/skill": 0.25,
        "test/rmse": 1.25,
        "test/skill": -0.5,
        "test/p": 0.25,
        "test/p_corrected": 0.5,
    }
    assert len(store.client.get_metric_history(runs["gru"], "test/skill")) == 1


@pytest.mark.usefixtures("plain_figures")
def test_an_evaluation_that_changed_replaces_the_old_numbers(
    store: Store, model_folder: Path, make_evaluation: Callable[..., Any], tmp_path: Path
) -> None:
    logged = sync(tmp_path / "models", store=store)
    sync_evaluation(store, make_evaluation(lstm=(0.25, 0.5)), logged)
    sync_evaluation(store, make_evaluation(lstm=(0.25, 0.125)), logged)
    assert store.client.get_run(logged[0].run_id).data.metrics["test/skill"] == 0.125


def test_a_baselines_folder_gets_a_run_with_tags_a_figure_and_its_evaluation_and_no_model(
    store: Store, make_baseline_folder: Callable[..., Path], make_evaluation: Callable[..., Any], tmp_path: Path
) -> None:
    folder = make_baseline_folder("har")
    (logged,) = sync(tmp_path / "models", store=store)
    sync_evaluation(store, make_evaluation(har=(0.25, 0.5)), [logged])
    assert (logged.competitor, logged.key, logged.created) == ("har", model_key(folder), True)
    run = store.client.get_run(logged.run_id)
    assert (run.info.run_name, run.info.status) == ("har", "FINISHED")
    wanted = {"dataset": "bitcoin", "competitor": "har", "baseline": "har", "data_sha256": "d" * 64}
    assert wanted.items() <= run.data.tags.items()
    assert not {"cell", "seed"} & run.data.tags.keys()
    assert run.data.params["baseline.kind"] == "har"
    assert run.data.metrics == {
        "validation/rmse": 0.875,
        "validation/skill": 0.25,
        "test/rmse": 0.75,
        "test/skill": 0.5,
        "test/p": 0.0005,
        "test/p_corrected": 0.001,
    }
    artifacts = tmp_path / "mlruns" / "bitcoin" / logged.run_id / "artifacts"
    files = {file.relative_to(artifacts).as_posix() for file in artifacts.rglob("*") if file.is_file()}
    assert files == {"figures/forecast.png", "results/manifest.json", "results/forecasts.parquet"}
    assert find_model(store.client, logged.run_id) is None
    assert [run.created for run in sync(tmp_path / "models", store=store)] == [False]


def test_key_of_a_baseline_changes_with_its_forecasts_and_needs_no_weights(
    make_baseline_folder: Callable[..., Path],
) -> None:
    folder = make_baseline_folder("har")
    before = model_key(folder)
    with (folder / "forecasts.parquet").open("ab") as file:
        file.write(b" ")
    assert model_key(folder) != before
    (folder / "forecasts.parquet").unlink()
    with pytest.raises(ModelError, match=r"forecasts\.parquet is missing"):
        model_key(folder)


@pytest.mark.parametrize("unit", ["price", "log_variance", "probability"])
def test_a_forecast_figure_shows_the_nearest_horizon_its_unit_and_its_band(model_folder: Path, unit: str) -> None:
    rows = pd.read_parquet(model_folder / "forecasts.parquet")
    both = pd.concat([rows, rows.assign(horizon=3, truth=-1.0)]).assign(q05=90.0, q95=120.0)
    (axes,) = draw_forecast(both, "bitcoin lstm", unit).axes
    truth = next(line for line in axes.lines if line.get_label() == "truth")
    assert truth.get_ydata().tolist() == rows[rows["split"] == "test"]["truth"].tolist()
    assert {"price": "price", "log_variance": "log variance", "probability": "probability"}[unit] in axes.get_ylabel()
    assert [band.get_label() for band in axes.collections] == ["5 % to 95 %"]
