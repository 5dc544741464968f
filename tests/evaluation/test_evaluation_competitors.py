from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from evaluation_models import LAST_CLOSE, TRUTH, make_forecasts

from carrossel.errors import ModelError
from carrossel.evaluation.competitors import FILES, read_competitors

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
    assert rows["last_close"].tolist() == LAST_CLOSE


@pytest.mark.parametrize("make", [True, False])
def test_no_model_at_all_says_what_to_run(make: bool, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "toy"
    if make:
        folder.mkdir(parents=True)
    with pytest.raises(ModelError, match=r"holds no trained model.*dvc repro evaluate@toy"):
        read_competitors(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_half_there_folder_names_what_lacks(name: str, write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    (write_competitor("rnn") / name).unlink()
    with pytest.raises(ModelError, match=rf"toy/rnn lacks {name}"):
        read_competitors(tmp_path / "models" / "toy")


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".csv")])
def test_a_broken_file_is_one_clear_error(name: str, write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    (write_competitor("rnn") / name).write_text("{")
    with pytest.raises(ModelError, match=r"toy/rnn has a file that can't be read"):
        read_competitors(tmp_path / "models" / "toy")


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".csv")])
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
    del manifest["parameters"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"toy/rnn/manifest.json: parameters: field required"):
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
