from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import requests
from written_commands import BLOCKS, LOCAL, ROOT, Shell, answers, family, free_port, listening, wait_until

ADMIN = "admin-of-the-test"


@pytest.fixture(scope="module")
def hub(database, s3, tmp_path_factory):
    """The hub's shell with its MLflow server, and the variables by which others reach it."""
    folder = tmp_path_factory.mktemp("hub")
    values = {
        **database,
        **s3,
        "MLFLOW_PORT": free_port(),
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "any long random string",
        "MLFLOW_AUTH_CONFIG_PATH": folder / "auth.ini",
    }
    shell = Shell(folder, "hub.env", values)
    with shell.serve("server", folder) as server:
        address = f"http://{LOCAL}:{values['MLFLOW_PORT']}"
        wait_until(answers(f"{address}/health"), server)
        yield shell, folder, server, address


def colleague(name, password, folder, address):
    """The shell of someone with a project of one result."""
    shutil.copy(ROOT / "params.yaml", folder)
    write_result(folder, name)
    reach = {"MLFLOW_TRACKING_URI": address, "MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}
    return Shell(folder, "team.env", reach)


def write_result(folder, kind):
    """A baseline's folder in models/, as docs/architecture.md has it."""
    model = folder / "models" / "bitcoin" / "baselines" / kind
    model.mkdir(parents=True)
    manifest = {"dataset": "bitcoin", "competitor": kind, "unit": "price", "data_sha256": "d" * 64}
    (model / "manifest.json").write_text(json.dumps({**manifest, "baseline": {"kind": kind, "config": {}}}))
    start = pd.date_range("2019-01-01", periods=6, freq="1h", tz="UTC")
    prices = {name: [100.0 + n for n in range(6)] for name in ("last_close", "unchanged", "truth", "forecast")}
    rows = {"split": "test", "origin": start, "time": start + pd.Timedelta("1h"), "horizon": 1, **prices}
    pd.DataFrame(rows).to_parquet(model / "forecasts.parquet", index=False)


def test_the_server_listens_on_this_machine_alone_and_shows_no_secret(hub, database, s3):
    _, _, server, _ = hub
    assert listening(server) == {LOCAL}
    said = " ".join(word for process in family(server) for word in process.cmdline())
    assert "--app-name basic-auth" in said
    assert all(secret not in said for secret in (ADMIN, database["PGPASSWORD"], s3["AWS_SECRET_ACCESS_KEY"]))


def test_who_has_no_password_is_refused_in_one_line(hub, tmp_path):
    *_, address = hub
    said = colleague("mallory", "guessed-it-perhaps", tmp_path, address).run("track", tmp_path, expect=1)
    assert "401" in said
    assert "guessed-it-perhaps" not in said
    assert len(said.splitlines()) == 1


def test_results_are_logged_on_the_server_again(hub, stored, tmp_path):
    shell, folder, _, address = hub
    ann = colleague("ann", shell.run("user", folder).strip(), tmp_path, address)
    assert "logged again: bitcoin/ann" in ann.run("track", tmp_path)
    assert not list(tmp_path.glob("mlflow.db*"))
    rows = "SELECT experiments.name, runs.name, status FROM runs JOIN experiments USING (experiment_id)"
    assert shell.run(f'psql -At mlflow -c "{rows}"', folder).split() == ["bitcoin|ann|FINISHED"]
    (file,) = (name for name in stored() if name.endswith("results/forecasts.parquet"))
    assert file.startswith("mlflow/")


def test_colleagues_log_into_one_experiment_and_delete_only_their_own(hub):
    shell, folder, _, address = hub
    passwords = {name: shell.run(BLOCKS["user"].replace("ann", name), folder).strip() for name in ("bea", "bob")}

    def ask(who, what, **keys):
        url = f"{address}/api/2.0/mlflow/{what}"
        return requests.post(url, auth=(who, passwords[who]), json=keys, timeout=60)

    experiment = ask("bea", "experiments/create", name="shared").json()["experiment_id"]
    assert ask("bob", "runs/create", experiment_id=experiment).status_code == 200
    assert ask("bob", "experiments/delete", experiment_id=experiment).status_code == 403
    assert ask("bea", "experiments/delete", experiment_id=experiment).status_code == 200


def test_backups_hold_what_was_written(hub):
    shell, folder, *_ = hub
    shell.run("backup", folder)
    for name, table in (("mlflow", "runs"), ("mlflow_auth", "users"), ("studies", "")):
        assert f"TABLE DATA public {table} " in shell.run(f"pg_restore --list {name}.dump", folder) or not table
