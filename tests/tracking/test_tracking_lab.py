from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from carrossel.cli import app
from carrossel.errors import LabError, StudyError
from carrossel.tracking.lab import sync_lab, sync_odyssey
from carrossel.tracking.mlflow_recorder import open_run
from carrossel.tracking.results import log_odyssey
from carrossel.tuning.odyssey.running import EXPERIMENT

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.tracking.store import Store

EXAMS = """candidate,cell,exam,length,seed,solved,iterations,score,pass_mark,chance,parameters,seconds
lstm,lstm,adding,100,1,True,1200,0.004,0.01,0.1667,9,3.5
lstm,lstm,adding,100,2,False,2000,0.012,0.01,0.1667,9,3.5
rnn,rnn,adding,100,1,False,2000,0.17,0.01,0.1667,9,3.5
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = tmp_path / "reports" / "lab"
    (folder / "figures").mkdir(parents=True)
    (folder / "units").mkdir()
    (folder / "exams.csv").write_text(EXAMS)
    (folder / "lab.html").write_text("<p>")
    (folder / "figures" / "error.png").write_bytes(b"png")
    (folder / "units" / "units.html").write_text("<p>")
    (folder / ".figures.half").mkdir()
    (folder / ".figures.half" / "error.png").write_bytes(b"half")
    return folder


def test_the_labs_files_and_exams_are_one_run_that_is_found_again(store: Store, lab: Path, tmp_path: Path) -> None:
    first = sync_lab(tmp_path, store=store)
    assert sync_lab(tmp_path, store=store) == first
    run = store.client.get_run(str(first))
    assert (run.info.run_name, run.info.status) == ("lab", "FINISHED")
    assert run.data.metrics == {
        "adding/100/solved": pytest.approx(1 / 3),
        "adding/100/lstm/solved": 0.5,
        "adding/100/lstm/score": pytest.approx(0.008),
        "adding/100/lstm/iterations": 1200.0,  # of the seed that solved it
        "adding/100/rnn/solved": 0.0,
        "adding/100/rnn/score": 0.17,
    }
    artifacts = tmp_path / "mlruns" / "lab" / str(first) / "artifacts"
    files = {file.relative_to(artifacts).as_posix() for file in artifacts.rglob("*") if file.is_file()}
    assert files == {"exams.csv", "lab.html", "figures/error.png", "units/units.html"}
    (lab / "lab.html").write_text("<p>new")
    assert sync_lab(tmp_path, store=store) != first


def test_without_a_lab_no_server_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert sync_lab(tmp_path) is None


def test_a_broken_table_of_exams_is_named_and_leaves_no_run(store: Store, lab: Path, tmp_path: Path) -> None:
    (lab / "exams.csv").write_text("candidate,cell\nlstm,lstm\n")
    with pytest.raises(LabError, match=r"exams\.csv can't be read .*Run: dvc repro exams"):
        sync_lab(tmp_path, store=store)
    assert store.client.get_experiment_by_name("lab") is None


@pytest.mark.usefixtures("store", "lab")
def test_track_logs_the_lab(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["track"])
    assert said.exit_code == 0, said.output
    assert "MLflow has the lab's run." in said.output
    assert (tmp_path / "mlruns" / "lab").is_dir()
    assert "odyssey" not in said.output


def test_the_odysseys_own_run_has_its_report_once(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "odyssey"
    folder.mkdir(parents=True)
    (folder / "cells.csv").write_text("cell,trials,best,best_tenth_median,median\ngru,10,0.3,0.2,0.1\n")
    with open_run(EXPERIMENT, "odyssey", key="live", store=store) as live:
        log_odyssey(live, tmp_path)
    assert sync_odyssey(tmp_path, store=store) == live.run_id
    (folder / "cells.csv").write_text("cell,trials,best,best_tenth_median,median\ngru,20,0.3,0.2,0.1\n")
    assert sync_odyssey(tmp_path, store=store) != live.run_id


def test_the_odysseys_report_is_a_run_that_is_found_again(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "odyssey"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "shares.png").write_bytes(b"png")
    (folder / "cells.csv").write_text("cell,trials,best,best_tenth_median,median\ngru,10,0.3,0.2,0.1\n")
    first = sync_odyssey(tmp_path, store=store)
    assert sync_odyssey(tmp_path, store=store) == first
    run = store.client.get_run(str(first))
    assert run.data.metrics == {"gru/best": 0.3, "gru/best_tenth_median": 0.2, "gru/median": 0.1}
    assert (tmp_path / "mlruns" / "odyssey" / str(first) / "artifacts" / "figures" / "shares.png").is_file()
    assert len(store.client.search_runs([run.info.experiment_id])) == 1
    (folder / "cells.csv").write_text("cell,trials\ngru,10\n")
    with pytest.raises(StudyError, match=r"cells\.csv can't be read .*Run: dvc repro odyssey"):
        sync_odyssey(tmp_path, store=store)
