import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy import text

from carrossel.errors import StudyError
from carrossel.tuning import storage as room
from carrossel.tuning.storage import (
    beating,
    explaining,
    first_number,
    list_studies,
    open_storage,
    queue_again,
    retry_stale,
    storage_url,
)
from postgres import running_cluster

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),  # the version is pinned
    pytest.mark.filterwarnings("ignore:Heartbeat of storage"),
]


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """No studies of the user's, and no connection that is left to the garbage collector."""
    opened = []

    def connect(url):
        opened.append(original(url))
        return opened[-1]

    original = room._connect
    monkeypatch.setattr(room, "_connect", connect)
    monkeypatch.delenv("CARROSSEL_STUDIES", raising=False)
    yield
    for storage in opened:
        storage.engine.dispose()


@pytest.fixture(scope="module")
def cluster():
    with running_cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request):
    return request.getfixturevalue("cluster") if request.param == "postgresql" else None


@pytest.fixture
def study(url, tmp_path, request):
    return begin(url, tmp_path, request.node.name)


def begin(url, root, name="study"):
    return optuna.create_study(
        study_name=name,
        storage=open_storage(url, root),
        sampler=optuna.samplers.RandomSampler(seed=1),
        direction="maximize",
        load_if_exists=True,
    )


def ask(study, *, beat=True):
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.suggest_categorical("kind", ["rnn", "lstm"])
    if beat:
        study._storage.record_heartbeat(trial._trial_id)
    return trial


def kill(study, *trials):
    """As if their driver had been killed a minute ago."""
    for trial in trials:
        backdate(study, "trial_heartbeats", "heartbeat", trial, -60)


def backdate(study, table, column, trial, seconds):
    engine = study._storage._backend.engine
    with engine.begin() as connection:
        shifted = {"sqlite": f"datetime({column}, '{seconds} seconds')"}.get(
            engine.name, f"{column} + interval '{seconds} seconds'"
        )
        statement = f"UPDATE {table} SET {column} = {shifted} WHERE trial_id = {trial._trial_id}"  # noqa: S608 - the names above
        connection.execute(text(statement))


def states(study):
    return [trial.state for trial in study.get_trials(deepcopy=False)]


def test_a_killed_drivers_trials_come_back_with_their_values(study):
    first, second = ask(study), ask(study)
    first.report(0.5, 3)
    first.storage.set_trial_system_attr(first._trial_id, "completed_rung_0", 0.5)
    first.set_user_attr("reason", "written, but never told")
    kill(study, first, second)

    assert retry_stale(study) == [0, 1]
    again, after = study.ask(), study.ask()

    assert states(study)[:2] == [TrialState.FAIL, TrialState.FAIL]
    assert [again.number, after.number] == [2, 3]
    assert (again.params, after.params) == (first.params, second.params)
    assert ask(study, beat=False).params != first.params
    repeated = study.get_trials()[2]
    assert first_number(repeated) == 0
    assert first_number(study.get_trials()[0]) == 0
    assert repeated.intermediate_values == repeated.user_attrs == {}
    assert "completed_rung_0" not in repeated.system_attrs
    assert retry_stale(study) == []


def test_a_trial_killed_twice_comes_back_twice_and_knows_its_first_number(study):
    first = ask(study)
    kill(study, first)
    retry_stale(study)
    second = study.ask()
    study._storage.record_heartbeat(second._trial_id)
    kill(study, second)

    assert retry_stale(study) == [1]
    third = study.ask()
    assert third.params == first.params
    assert first_number(study.get_trials()[third.number]) == 0


def test_a_living_drivers_trials_arent_taken_for_dead(study, url, tmp_path, request):
    other = begin(url, tmp_path, request.node.name)
    trial, dead = ask(study), ask(study)
    kill(study, trial, dead)
    with beating(study._storage) as heartbeats:
        heartbeats.add(trial._trial_id)

        assert retry_stale(other) == [1]
    study.tell(trial, 1.0)
    assert states(other) == [TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING]


def test_the_thread_beats_until_a_trial_is_removed_and_a_database_that_is_away_doesnt_stop_it():
    came, gone = threading.Semaphore(0), set()

    class Shaky:
        beats = 0

        def get_heartbeat_interval(self):
            return 0.001

        def record_heartbeat(self, trial_id):
            self.beats += 1
            gone.add(trial_id)
            came.release()
            if self.beats < 4:
                raise StorageInternalError("away")

    with beating(Shaky()) as heartbeats:
        heartbeats.add(7)
        for _ in range(6):
            assert came.acquire(timeout=20)
        thread = next(thread for thread in threading.enumerate() if thread.name == "heartbeats")
        heartbeats.remove(7)
    assert gone == {7}
    assert not thread.is_alive()


def test_a_trial_killed_before_its_first_heartbeat_is_noticed_too(study):
    trial = ask(study, beat=False)

    assert retry_stale(study) == []  # it may just have begun
    kill(study, trial)
    assert retry_stale(study) == [0]
    assert study.ask().params == trial.params


def test_a_trial_failed_by_a_driver_that_was_killed_before_it_queued_it_is_queued_later(study, monkeypatch):
    trial = ask(study)
    kill(study, trial)
    with monkeypatch.context() as patched:
        patched.setattr(room, "queue_again", lambda *_: pytest.fail("killed here"))
        with pytest.raises(pytest.fail.Exception):
            retry_stale(study)
    assert states(study) == [TrialState.FAIL]

    assert retry_stale(begin_again(study)) == []  # its driver may be about to
    backdate(study, "trials", "datetime_complete", trial, -3600)
    again = begin_again(study)
    assert retry_stale(again) == [0]
    assert retry_stale(again) == []
    assert again.ask().params == trial.params


def begin_again(study):
    """Another driver, that has nothing in memory."""
    backend = study._storage._backend
    return optuna.load_study(study_name=study.study_name, storage=optuna.storages._CachedStorage(backend))


def test_a_trial_that_failed_by_itself_isnt_queued_again(study):
    trial = ask(study)
    study.tell(trial, state=TrialState.FAIL)
    backdate(study, "trials", "datetime_complete", trial, -3600)
    kill(study, trial)
    assert retry_stale(begin_again(study)) == []
    assert states(study) == [TrialState.FAIL]

    queue_again(study, 0)
    assert study.ask().params == trial.params


DRIVER = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import optuna
from carrossel.tuning.storage import beating, open_storage
study = optuna.load_study(study_name="study", storage=open_storage(None, Path(sys.argv[1])))
with beating(study._storage) as heartbeats:
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    heartbeats.add(trial._trial_id)
    print("running", flush=True)
    sys.stdin.read()
"""


def test_a_driver_killed_for_real_leaves_a_trial_that_is_found(tmp_path):
    study = begin(None, tmp_path)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with driver:
        assert driver.stdout.readline() == "running\n"
        os.kill(driver.pid, signal.SIGKILL)
    trial = study.get_trials()[0]
    kill(study, trial)
    assert retry_stale(study) == [0]
    assert study.ask().params == trial.params


def test_two_drivers_write_at_once(url, tmp_path, request):
    begin(url, tmp_path, request.node.name)

    def drive():
        study = begin(url, tmp_path, request.node.name)
        for _ in range(4):
            trial = ask(study)
            retry_stale(study)
            study.tell(trial, 1.0)

    threads = [threading.Thread(target=drive) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trials = begin(url, tmp_path, request.node.name).get_trials()
    assert [trial.number for trial in trials] == list(range(8))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}


def test_studies_are_listed_the_oldest_first(study, url, tmp_path):
    ask(study)
    name = f"a later one than {study.study_name}"
    later = begin(url, tmp_path, name)
    study.tell(0, 1.0)
    ask(later)
    names = [summary.study_name for summary in list_studies(open_storage(url, tmp_path))]
    assert names.index(study.study_name) < names.index(name)


def test_nothing_is_stale_in_memory():
    study = optuna.create_study()
    study.ask()
    assert retry_stale(study) == []


@pytest.mark.parametrize(
    ("configured", "variable", "expected"),
    [
        (None, None, "sqlite:///{root}/.carrossel/studies.db"),
        ("sqlite:///mine.db", None, "sqlite:///{root}/mine.db"),
        ("sqlite:////elsewhere/mine.db", None, "sqlite:////elsewhere/mine.db"),
        ("postgresql://me:pass@host/name", None, "postgresql+psycopg://me:pass@host/name"),
        ("postgres://host/name", None, "postgresql+psycopg://host/name"),
        ("postgresql+psycopg2://host/name", None, "postgresql+psycopg2://host/name"),
        ("sqlite:///mine.db", "postgresql://host/name", "postgresql+psycopg://host/name"),
    ],
)
def test_the_variable_wins_over_params_and_params_over_sqlite(tmp_path, configured, variable, expected):
    environment = {"CARROSSEL_STUDIES": variable} if variable else {}
    url = storage_url(configured, tmp_path, environment)
    assert url == expected.format(root=tmp_path)
    assert storage_url(url, tmp_path, {}) == url


@pytest.mark.parametrize("configured", ["geheim", "postgresql://me:geheim@host:port/name"])
def test_what_isnt_a_url_is_refused_unseen(tmp_path, configured):
    with pytest.raises(StudyError, match="isn't a database URL") as raised:
        storage_url(configured, tmp_path)
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize(
    ("configured", "message"),
    [
        ("postgresql://tester:geheim@127.0.0.1:1/postgres", "127.0.0.1.*refused"),
        ("postgresql://127.0.0.1:1/postgres?user=tester&password=geheim", "127.0.0.1.*refused"),
        ("mysql://me:geheim@127.0.0.1/name", "No module named 'MySQLdb'"),
        ("abacus://me:geheim@127.0.0.1/name", "abacus"),
        ("sqlite:///file", "file is not a database"),
        ("sqlite:///file/studies.db", "file"),
        ("sqlite:///file:{root}/old.db?mode=ro&uri=true", "readonly|unable to open"),
    ],
)
def test_a_database_that_cant_be_used_is_one_error_without_its_password(tmp_path, configured, message):
    (tmp_path / "file").write_text("this is no database, but a text of more than a hundred bytes " * 9)
    with closing(sqlite3.connect(tmp_path / "old.db")) as database:
        database.execute("CREATE TABLE old (x)")
    with pytest.raises(StudyError, match=message) as raised:
        open_storage(configured.format(root=tmp_path), tmp_path)
    assert "geheim" not in str(raised.value)
    assert "Mend it, or change tuning.storage or CARROSSEL_STUDIES." in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert (tmp_path / "file").read_text().startswith("this is no database")


def test_a_wrong_password_isnt_shown(cluster, tmp_path):
    wrong = cluster.replace("tester@/postgres", "nobody:geheim@/postgres")
    with pytest.raises(StudyError, match="nobody") as raised:
        open_storage(wrong, tmp_path)
    assert "geheim" not in str(raised.value)


def test_tables_of_another_version_of_optuna_are_refused(tmp_path):
    open_storage(None, tmp_path)
    with closing(sqlite3.connect(tmp_path / ".carrossel" / "studies.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = 'v2.4.0.a'")
        database.commit()
    with pytest.raises(StudyError, match="no longer compatible with the table schema"):
        open_storage(None, tmp_path)


def test_a_database_that_goes_away_meanwhile_is_one_error(tmp_path):
    storage = open_storage(None, tmp_path)
    with storage.engine.begin() as connection:
        connection.execute(text("DROP TABLE trial_heartbeats"))
    with pytest.raises(StudyError, match="no such table"), explaining(storage):
        storage.record_heartbeat(1)


def test_braces_in_the_projects_folder_do_no_harm(tmp_path):
    root = tmp_path / "{SCHEMA_VERSION}{"
    root.mkdir()
    open_storage(None, root)
    assert (root / ".carrossel" / "studies.db").exists()


def test_heartbeats_are_kept_in_utc_whatever_the_zone(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    study = begin(cluster, tmp_path, "far away")
    trial = ask(study)
    monkeypatch.setenv("PGTZ", "America/Lima")
    assert retry_stale(begin(cluster, tmp_path, "far away")) == []
    with study._storage._backend.engine.connect() as connection:
        written = connection.execute(
            text("SELECT heartbeat FROM trial_heartbeats WHERE trial_id = :trial"), {"trial": trial._trial_id}
        ).scalar_one()
        now = connection.execute(text("SELECT now() AT TIME ZONE 'UTC'")).scalar_one()
    assert isinstance(written, datetime)
    assert abs(now - written) < timedelta(minutes=30)  # zones are hours apart


def test_sqlite_lets_others_read_while_the_driver_writes(tmp_path):
    with open_storage(None, tmp_path).engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
