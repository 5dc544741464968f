from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from evaluation_models import make_forecasts, make_forecasts_that_know, make_walk_forward

from carrossel.bars.store import write_bars
from carrossel.errors import CarrosselError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

PIPELINE = Path(__file__).parents[2] / "pipeline"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CARROSSEL_ROOT", str(tmp_path))
    (tmp_path / "params.yaml").write_text("datasets: {toy: {}}\ncells: {lstm: {}}\nbaselines: {ar: {}}\n")
    return tmp_path


def run_stage(name: str, function: str, *arguments: str) -> None:
    runpy.run_path(str(PIPELINE / f"{name}.py"))[function](*arguments)


def read_outputs(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def test_no_stage_of_this_room_loads_torch_lightning_or_mlflow() -> None:
    code = f"""
import runpy, sys
for name in ("explore", "evaluate", "compare"):
    runpy.run_path(rf"{PIPELINE}/{{name}}.py")
print(sorted({{"torch", "lightning", "pytorch_lightning", "mlflow", "optuna"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_evaluate_and_compare_write_the_same_bytes_twice(
    project: Path, write_competitor: Callable[..., Path], write_baseline: Callable[..., Path]
) -> None:
    for name in ("lstm", "tuned", "gone"):  # the last is no longer in params.yaml
        write_competitor(name)
    for name in ("ar", "dropped"):
        write_baseline(name, make_forecasts([11.0, 11.5, 11.0, 12.5], [11.0, 13.0, 12.0, 12.0]))
    seen = []
    for _ in range(2):
        run_stage("evaluate", "score", "toy")
        run_stage("compare", "compare")
        seen.append(read_outputs(project))
    assert seen[0] == seen[1]
    written = {name for name in seen[0] if not name.startswith(("models", "params"))}
    assert written == {
        "metrics.json",
        "reports/report.html",
        "reports/skill.png",
        "reports/evaluation/toy.json",
        "reports/evaluation/toy.csv",
        "reports/plots/skill.csv",
        "reports/plots/gradient_by_lag_toy.csv",
        "reports/plots/gradient_by_lag_toy_first_epoch.png",
        "reports/plots/gradient_by_lag_toy_last_epoch.png",
        "reports/plots/cell_lab_memory_toy.png",
        "reports/plots/validation_loss_toy.csv",
    }
    evaluation = json.loads(seen[0]["reports/evaluation/toy.json"])
    assert json.loads(seen[0]["metrics.json"])["toy"]["tuned"] == evaluation["rows"]["test"]["tuned"]
    assert set(evaluation["competitors"]) == {"lstm", "tuned", "ar"}
    assert "walk_forward" not in evaluation


def test_evaluate_says_that_a_tuned_network_of_other_rows_is_left_out(
    project: Path, write_competitor: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_forecasts_that_know(0.05)
    write_competitor("lstm", rows)
    later = rows[rows["origin"] > rows["origin"].min()]
    write_competitor("tuned", later, windows={"lookback": 4, "horizon": 1, "features": ["log_return"]})
    run_stage("evaluate", "score", "toy")
    assert capsys.readouterr().out.count("toy: tuned answers other rows") == 1
    evaluation = json.loads((project / "reports" / "evaluation" / "toy.json").read_text())
    assert set(evaluation["competitors"]) == {"lstm"}


def test_evaluate_takes_in_a_walk_forward_where_there_is_one_and_needs_no_baselines(
    project: Path, write_competitor: Callable[..., Path]
) -> None:
    (project / "params.yaml").write_text("datasets: {toy: {}}\ncells: {lstm: {}}\n")
    write_competitor("lstm", make_forecasts_that_know(0.05))
    (project / "reports" / "walk_forward").mkdir(parents=True)
    table = make_walk_forward({"lstm": {1: 0.04, 2: 0.06}})
    table.to_parquet(project / "reports" / "walk_forward" / "toy.parquet", index=False)
    run_stage("evaluate", "score", "toy")
    run_stage("compare", "compare")
    evaluation = json.loads((project / "reports" / "evaluation" / "toy.json").read_text())
    assert evaluation["walk_forward"]["models"]["lstm"]["judgement"]["verdict"] == "beats persistence"
    assert "<h2>Walk-forward</h2>" in (project / "reports" / "report.html").read_text()


def test_a_stage_that_fails_leaves_what_was_there(project: Path, write_competitor: Callable[..., Path]) -> None:
    folder = write_competitor("lstm")
    run_stage("evaluate", "score", "toy")
    before = read_outputs(project / "reports")
    (folder / "forecasts.parquet").unlink()
    with pytest.raises(ModelError, match=r"toy/lstm lacks forecasts.parquet"):
        run_stage("evaluate", "score", "toy")
    assert read_outputs(project / "reports") == before


def test_explore_writes_plots_and_a_table(project: Path) -> None:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, 80)))
    bars = pd.DataFrame({"timestamp": pd.date_range("2020-01-01", periods=80, freq="h", tz="UTC").as_unit("ns")})
    bars = bars.assign(open=close, high=close, low=close, close=close, volume=1.0, status="observed")
    (project / "data" / "bars").mkdir(parents=True)
    write_bars(project / "data" / "bars" / "toy.parquet", bars)
    run_stage("explore", "explore", "toy")
    assert sorted(file.name for file in (project / "reports" / "explore" / "toy").iterdir()) == [
        "autocorrelation.png",
        "describe.csv",
        "histogram.png",
        "price.png",
        "returns.png",
        "rolling_volatility.png",
        "volume.png",
    ]


def test_explore_without_bars_says_what_to_run(project: Path) -> None:
    with pytest.raises(CarrosselError, match=r"toy.parquet doesn't exist"):
        run_stage("explore", "explore", "toy")
