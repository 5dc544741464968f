from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from evaluation_models import LAST_CLOSE, TRUTH, make_forecasts

from carrossel.errors import ModelError
from carrossel.evaluation.competitors import FILES, NETWORK_FILES, read_competitors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GOOD = [11.0, 13.0, 12.0, 12.0]


def test_competitors_come_by_name_and_half_written_folders_stay_out(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    write_competitor("rnn")
    write_competitor("lstm")
    (tmp_path / "models" / "toy" / ".gru.x1").mkdir()
    assert [c.name for c in read_competitors(tmp_path / "models" / "toy")] == ["lstm", "rnn"]


def test_rows_come_in_time_order(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    write_competitor("rnn", make_forecasts(GOOD, GOOD).iloc[::-1])
    rows = read_competitors(tmp_path / "models" / "toy")[0].rows("test")
    assert rows["truth"].tolist() == TRUTH
    assert rows["unchanged"].tolist() == LAST_CLOSE


def test_baselines_come_after_the_networks_and_need_no_history(
    write_competitor: Callable[..., Path], write_baseline: Callable[..., Path], tmp_path: Path
) -> None:
    write_competitor("rnn")
    write_baseline("ar", make_forecasts(GOOD, GOOD))
    write_baseline("persistence", make_forecasts(GOOD, GOOD))  # what all are measured against, so no competitor
    competitors = read_competitors(tmp_path / "models" / "toy")
    assert [(c.name, c.is_baseline) for c in competitors] == [("rnn", False), ("ar", True)]
    assert competitors[1].history.empty


def test_names_choose_among_networks_and_baselines(
    write_competitor: Callable[..., Path], write_baseline: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("rnn", "gone"):
        write_competitor(name)
    for name in ("ar", "drift"):
        write_baseline(name, make_forecasts(GOOD, GOOD))
    found = read_competitors(tmp_path / "models" / "toy", {"rnn", "ar", "absent"})
    assert [c.name for c in found] == ["rnn", "ar"]


def test_a_network_and_a_baseline_of_one_name_are_refused(
    write_competitor: Callable[..., Path], write_baseline: Callable[..., Path], tmp_path: Path
) -> None:
    write_competitor("mlp")
    write_baseline("mlp", make_forecasts(GOOD, GOOD))
    with pytest.raises(ModelError, match="both called 'mlp'"):
        read_competitors(tmp_path / "models" / "toy")


def test_a_broken_baseline_is_named_with_its_folder(
    write_competitor: Callable[..., Path], write_baseline: Callable[..., Path], tmp_path: Path
) -> None:
    write_competitor("rnn")
    (write_baseline("ar", make_forecasts(GOOD, GOOD)) / "forecasts.parquet").unlink()
    with pytest.raises(ModelError, match=r"toy/baselines/ar lacks forecasts.parquet"):
        read_competitors(tmp_path / "models" / "toy")


def test_rows_are_of_the_nearest_horizon_unless_another_is_asked_for(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    near, far = make_forecasts(GOOD, GOOD), make_forecasts(LAST_CLOSE, LAST_CLOSE, horizon=2)
    write_competitor("rnn", pd.concat([far, near]))
    competitor = read_competitors(tmp_path / "models" / "toy")[0]
    assert competitor.horizons == (1, 2)
    assert competitor.rows("test")["forecast"].tolist() == GOOD
    assert competitor.rows("test", 2)["forecast"].tolist() == LAST_CLOSE


def test_quantile_columns_are_found_by_level(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    write_competitor("gru", make_forecasts(GOOD, GOOD, quantiles={"q05": GOOD, "q95": GOOD}))
    write_competitor("rnn")
    gru, rnn = read_competitors(tmp_path / "models" / "toy")
    assert gru.quantiles == {0.05: "q05", 0.95: "q95"}
    assert rnn.quantiles == {}


def test_competitors_that_answer_other_questions_are_named(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    write_competitor("gru")
    write_competitor("lstm", unit="log_variance")
    with pytest.raises(ModelError, match=r"gru and lstm differ in the unit \(price against log_variance\)"):
        read_competitors(tmp_path / "models" / "toy")
    write_competitor("rnn", pd.concat([make_forecasts(GOOD, GOOD), make_forecasts(GOOD, GOOD, horizon=2)]))
    with pytest.raises(ModelError, match=r"gru and rnn differ in windows.horizon"):
        read_competitors(tmp_path / "models" / "toy", {"gru", "rnn"})


@pytest.mark.parametrize("make", [True, False])
def test_no_model_at_all_says_what_to_run(make: bool, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "toy"
    if make:
        folder.mkdir(parents=True)
    with pytest.raises(ModelError, match=r"holds no trained model.*dvc repro evaluate@toy"):
        read_competitors(folder)


@pytest.mark.parametrize("name", FILES + NETWORK_FILES)
def test_a_half_there_folder_names_what_lacks(name: str, write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    (write_competitor("rnn") / name).unlink()
    with pytest.raises(ModelError, match=rf"toy/rnn lacks {name}"):
        read_competitors(tmp_path / "models" / "toy")


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_is_one_clear_error(name: str, write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    (write_competitor("rnn") / name).write_text("{")
    with pytest.raises(ModelError, match=r"toy/rnn has a file that can't be read"):
        read_competitors(tmp_path / "models" / "toy")


@pytest.mark.parametrize("name", NETWORK_FILES)
def test_an_empty_table_is_one_clear_error(name: str, write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    (write_competitor("rnn") / name).write_text("")
    with pytest.raises(ModelError, match=r"toy/rnn has a file that can't be read"):
        read_competitors(tmp_path / "models" / "toy")


def test_a_table_without_its_columns_names_them(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    (write_competitor("rnn") / "history.csv").write_text("epoch,loss\n0,1\n")
    with pytest.raises(ModelError, match=r"history.csv has no column train_loss, validation_loss; it has epoch, loss"):
        read_competitors(tmp_path / "models" / "toy")


def test_a_manifest_without_a_key_names_it(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    path = write_competitor("rnn") / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["windows"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"toy/rnn/manifest.json: windows: field required"):
        read_competitors(tmp_path / "models" / "toy")


def test_a_naive_error_of_zero_gives_mase_no_scale(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    write_competitor("rnn", train_mae_naive=0.0)
    with pytest.raises(ModelError, match=r"train_mae_naive: input should be greater than 0"):
        read_competitors(tmp_path / "models" / "toy")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_forecast_that_is_no_number_names_the_first_row(
    bad: float, write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    write_competitor("rnn", make_forecasts(GOOD, [11.0, bad, bad, 12.0]))
    with pytest.raises(ModelError, match=r"toy/rnn.*test: 2 of 4 values in 'forecast' are not finite.*2020-01-02"):
        read_competitors(tmp_path / "models" / "toy")


def test_a_part_without_rows_is_named(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    write_competitor("rnn", make_forecasts(GOOD, GOOD).head(4))
    with pytest.raises(ModelError, match=r"no row of split 'test'"):
        read_competitors(tmp_path / "models" / "toy")


def test_an_origin_that_comes_twice_is_named(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    forecasts = make_forecasts(GOOD, GOOD)
    forecasts.loc[1, "origin"] = forecasts.loc[0, "origin"]
    write_competitor("rnn", forecasts)
    with pytest.raises(ModelError, match=r"validation: origin 2020-01-01.*comes twice"):
        read_competitors(tmp_path / "models" / "toy")


def test_competitors_with_other_rows_are_named(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    write_competitor("gru")
    write_competitor("rnn", make_forecasts(GOOD, GOOD).iloc[:-1])
    with pytest.raises(ModelError, match=r"toy, test: gru and rnn forecast different rows \(4 rows.*3 rows"):
        read_competitors(tmp_path / "models" / "toy")


def test_competitors_with_other_truth_are_named(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    write_competitor("gru")
    write_competitor("rnn", make_forecasts(GOOD, GOOD, truth=[12.0, 11.0, 11.0, 14.1]))
    with pytest.raises(ModelError, match=r"gru and rnn disagree about 'truth'"):
        read_competitors(tmp_path / "models" / "toy")


def test_competitors_trained_on_other_data_are_named(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    write_competitor("gru")
    write_competitor("rnn", data_sha256="cd" * 32)
    with pytest.raises(ModelError, match=r"gru was trained on data abababababab and rnn on cdcdcdcdcdcd"):
        read_competitors(tmp_path / "models" / "toy")


def test_nobody_may_be_called_persistence(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    write_competitor("persistence")
    with pytest.raises(ModelError, match="baseline's"):
        read_competitors(tmp_path / "models" / "toy")


WINDOWS = {"lookback": 3, "horizon": 1, "features": ["log_return"], "train": 0.7}


@pytest.mark.parametrize("own", [{"lookback": 4}, {"features": ["volume"]}])
def test_tuned_is_left_out_with_a_line_where_its_study_chose_other_rows(
    write_competitor: Callable[..., Path], tmp_path: Path, own: dict[str, object]
) -> None:
    write_competitor("lstm", windows=WINDOWS)
    rows = make_forecasts(GOOD, GOOD)
    write_competitor("tuned", rows[rows["origin"] > rows["origin"].min()], windows={**WINDOWS, **own})
    said: list[str] = []
    assert [c.name for c in read_competitors(tmp_path / "models" / "toy", tell=said.append)] == ["lstm"]
    (line,) = said
    assert f"its study chose windows.{next(iter(own))}" in line
    assert "reports/studies/toy/study.html" in line
    assert len(read_competitors(tmp_path / "models" / "toy")) == 1


def test_tuned_competes_where_it_answers_the_same_rows_by_windows_of_its_own(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    write_competitor("lstm", windows=WINDOWS)
    write_competitor("tuned", windows={**WINDOWS, "lookback": 4})
    said: list[str] = []
    assert len(read_competitors(tmp_path / "models" / "toy", tell=said.append)) == 2
    assert not said


@pytest.mark.parametrize(
    "changes",
    [{}, {"windows": {**WINDOWS, "train": 0.6}}, {"windows": {**WINDOWS, "lookback": 4}, "data_sha256": "cd"}],
)
def test_other_rows_that_no_study_chose_are_refused_from_tuned_as_from_anyone(
    write_competitor: Callable[..., Path], tmp_path: Path, changes: dict[str, object]
) -> None:
    write_competitor("lstm", windows=WINDOWS)
    rows = make_forecasts(GOOD, GOOD)
    write_competitor("tuned", rows[rows["origin"] > rows["origin"].min()], **{"windows": WINDOWS, **changes})
    with pytest.raises(ModelError, match=r"different rows|trained on data"):
        read_competitors(tmp_path / "models" / "toy")
