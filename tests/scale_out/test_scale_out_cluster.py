from __future__ import annotations

import re
import shutil

import pandas as pd
import pytest
import yaml
from written_commands import LOCAL, PAGE, ROOT, Shell, free_port, listening, wait_until

from carrossel.bars.store import write_bars
from carrossel.errors import ConfigError
from carrossel.workers import open_client
from walks import make_bars

WORKERS = 2

SMALL = {
    "windows": {"lookback": 8, "horizon": 1, "features": ["log_return"], "train": 0.7, "validation": 0.15},
    "walk_forward": {"models": ["drift"], "folds": 2, "seeds": 1},
    "tuning": {"cell": "gru", "trials": 2, "epochs": 1, "sampler": "random", "pruner": "none"}
    | {"space": {"cell.hidden_size": {"kind": "categorical", "choices": [3, 4]}}},
}


@pytest.fixture(scope="module")
def team(database, tmp_path_factory):
    """The shell of a member, and the project's folder; a scheduler and two workers run beside it."""
    folder = tmp_path_factory.mktemp("cluster")
    scheduler = f"tls://{LOCAL}:{free_port()}"
    values = {
        **database,
        "MLFLOW_TRACKING_URI": f"http://{LOCAL}:1",  # nobody there: runs aren't the matter here
        "CARROSSEL_STUDIES": "postgresql+psycopg:///studies",
        "DASK_CONFIG": folder / "dask",
        "HERE": LOCAL,
        "SCHEDULER": scheduler,
    }
    shell = Shell(folder, "team.env", values)
    shell.run("certificate", folder)
    project = folder / "project"
    write_project(project, scheduler)
    with shell.serve("scheduler", folder) as hub, shell.serve("worker", folder) as machine:
        wait_until(lambda: (folder / "worker.log").read_text().count("Registered to") == WORKERS, machine)
        yield shell, project, hub, machine


def write_project(folder, scheduler):
    """Small bars, and of the pipeline what the page's commands run."""
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data" / "bars").mkdir(parents=True)
    write_bars(folder / "data" / "bars" / "bitcoin.parquet", make_bars(400))
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["walk_forward"]
    stage["do"]["deps"] = ["data/bars/${key}.parquet", "pipeline/walk_forward.py"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"walk_forward": stage}}))
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"datasets": {"bitcoin": {}}}
    written = yaml.safe_load(re.search(r"```yaml\n(walk_forward:\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1])
    for section, keys in SMALL.items():
        params[section] = params[section] | keys
    for section in written:
        params[section] |= dict.fromkeys(written[section], scheduler)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def test_the_cluster_listens_on_its_address_alone(team):
    _, project, hub, machine = team
    assert listening(hub) == {LOCAL}
    assert listening(machine) == {LOCAL}
    key = project.parent / "dask" / "key.pem"
    assert key.stat().st_mode & 0o077 == 0


def test_workers_keep_freed_memory(team):
    *_, machine = team
    workers = [each for each in machine.children(recursive=True) if "--multiprocessing-fork" in each.cmdline()]
    assert len(workers) == WORKERS
    assert all("MALLOC_TRIM_THRESHOLD_" not in each.environ() for each in workers)
    assert all(each.environ()["OMP_NUM_THREADS"] == "1" for each in workers)


def test_without_a_certificate_the_cluster_is_out_of_reach_in_one_line(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"tuning\.scheduler = 'tls://127\.0\.0\.1:1' talks TLS, .*DASK_CONFIG"),
        open_client(f"tls://{LOCAL}:1", 1, tmp_path, "tuning"),
    ):
        pass


def test_a_walk_forward_and_a_study_run_on_the_cluster(team):
    shell, project, _, machine = team
    shell.run("dvc init --no-scm --quiet", project)
    shell.run("cluster", project)
    walked = pd.read_parquet(project / "reports" / "walk_forward" / "bitcoin.parquet")
    assert set(walked["model"]) == {"drift"}
    assert "best is trial" in shell.run("study", project)
    trials = "SELECT state FROM trials JOIN studies USING (study_id) WHERE study_name LIKE 'bitcoin-gru-%'"
    assert shell.run(f'psql -At studies -c "{trials}"', project).split() == ["COMPLETE"] * 2
    assert not (project / ".carrossel" / "studies.db").exists()
    assert any("libtorch" in part.path for each in machine.children(recursive=True) for part in each.memory_maps())
