"""Retraining: each step once, failures in one line, nothing lost; DVC, MLflow and the gate have tests of their own."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml
from safetensors import SafetensorError
from typer.testing import CliRunner

from carrossel.bars.store import write_bars
from carrossel.cli import app
from carrossel.errors import Busy, CarrosselError, ConfigError, ModelError, TrackingError
from carrossel.files import sha256
from carrossel.forecaster.stored import load, save
from carrossel.online import children, retraining
from carrossel.online.champion import Champion
from carrossel.online.dvc import run_dvc
from carrossel.online.ledger import DECIDED, Entry, open_ledger
from carrossel.online.locking import alone
from carrossel.online.retraining import BUSY, DONE, FAILED, INTERRUPTED, TERMINATED, retrain, retrain_all, revision
from carrossel.online.warm_start import train_on
from carrossel.recorder import MemoryRecorder
from carrossel.training.config import read_recipe
from carrossel.training.session import train

NOW = pd.Timestamp("2026-01-02 03:04", tz="UTC")
PARAMS = {
    "datasets": {
        "coin": {"source": {"kind": "sample", "name": "bitcoin"}, "interval": "1h"},
        "share": {"source": {"kind": "sample", "name": "google"}, "interval": "1h"},
    },
    "windows": {"lookback": 4, "features": ["log_return", "log_range"]},
    "target": {"kind": "log_return"},
    "head": {"kind": "point"},
    "cells": {"lstm": {"hidden_size": 3}, "gru": {"hidden_size": 3}},
    "training": {"epochs": 2, "batch_size": 32, "probe_windows": 2, "accelerator": "cpu"},
    "online": {"retrain": {"cells": ["lstm", "gru"], "warm_start": False}},
}


@dataclass
class Found:
    reason: str = "the gate's reason"
    promote: bool = False
    created: bool = True


class Steps:
    """DVC and promotion, as far as a retraining sees them."""

    def __init__(self, root, make_bars):
        self.root, self.make_bars = root, make_bars
        self.rows, self.calls, self.considered, self.reconciled, self.lines = 300, [], [], [], []
        self.fault, self.actors = {}, []

    def dvc(self, arguments, root):
        assert root == self.root
        self.calls.append(arguments)
        stage = arguments[-1]
        fault = self.fault.pop(stage.partition("@")[0], 0)
        if isinstance(fault, BaseException):
            raise fault
        if not fault and stage.startswith("prepare@"):
            path = root / "data" / "bars" / f"{stage.partition('@')[2]}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bars(path, self.make_bars(self.rows))
        return fault

    def consider(self, dataset, candidates, *, root, bars, key, actor, now):
        if "gate" in self.fault:
            raise self.fault.pop("gate")
        self.considered.append((dataset, [folder.relative_to(root).as_posix() for folder in candidates], key))
        self.actors.append(actor)
        with open_ledger(root) as ledger:
            ledger.append(Entry(dataset, DECIDED, actor, "the gate's reason", key=key), now)
        return Found()

    def reconcile(self, dataset, **_):
        self.reconciled.append(dataset)

    def run(self, *datasets):
        return retrain_all(datasets or None, self.root, clock=lambda: NOW, tell=self.lines.append, dvc=self.dvc)


@pytest.fixture
def root(tmp_path, monkeypatch):
    write_params(tmp_path, PARAMS)
    monkeypatch.setenv("CARROSSEL_ROOT", str(tmp_path))
    monkeypatch.delenv("CARROSSEL_STORE", raising=False)
    monkeypatch.setattr(retraining, "code_revision", lambda: "abc")
    return tmp_path


@pytest.fixture
def steps(root, make_bars, monkeypatch):
    found = Steps(root, make_bars)
    monkeypatch.setattr("carrossel.online.promotion.consider", found.consider)
    monkeypatch.setattr("carrossel.online.promotion.reconcile", found.reconcile)
    return found


def write_params(root, params):
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def changed(**sections):
    return {name: {**PARAMS[name], **sections.get(name, {})} for name in PARAMS}


def test_it_fetches_prepares_trains_and_asks_the_gate(steps, root):
    assert steps.run("coin") == DONE
    assert steps.calls == [
        ["repro", "--force", "--single-item", "download@coin"],
        ["repro", "prepare@coin"],
        ["repro", "train@coin-lstm", "train@coin-gru"],
    ]
    digest = sha256(root / "data" / "bars" / "coin.parquet")
    last = steps.make_bars(300)["timestamp"].iloc[-1].isoformat()
    assert steps.considered == [("coin", ["models/coin/lstm", "models/coin/gru"], f"coin {last} {digest} abc")]
    assert "not promoted: the gate's reason" in steps.lines[-1]


def test_who_asks_is_told_to_the_gate_in_one_line_that_fits_the_ledger(steps):
    steps.run("coin")
    for actor in ("carrossel watch: drift\nof the loss", "x" * 300, " "):
        steps.rows += 1
        retrain_all(["coin"], steps.root, clock=lambda: NOW, actor=actor, tell=steps.lines.append, dvc=steps.dvc)
    assert steps.actors == ["carrossel retrain", "carrossel watch: drift of the loss", "x" * 200, "carrossel retrain"]


def test_the_command_takes_who_asks(root, monkeypatch):
    taken = []
    monkeypatch.setattr(retraining, "retrain_all", lambda *_, actor, **__: taken.append(actor) or DONE)
    assert CliRunner().invoke(app, ["retrain", "--once", "--actor", "somebody"]).exit_code == DONE
    assert CliRunner().invoke(app, ["retrain", "--once"]).exit_code == DONE
    assert taken == ["somebody", "carrossel retrain"]


def test_run_twice_nothing_happens_twice(steps):
    steps.run("coin")
    assert steps.run("coin") == DONE
    assert len(steps.considered) == 1
    assert [call[-1] for call in steps.calls[3:]] == ["download@coin", "prepare@coin"]
    assert steps.reconciled == ["coin"]
    assert "nothing new since" in steps.lines[-1]


def test_a_new_bar_is_a_new_decision(steps):
    steps.run("coin")
    steps.rows += 1
    assert steps.run("coin") == DONE
    assert len(steps.considered) == 2


def test_bars_that_are_missing_at_the_end_are_not_the_last_closed_bar(steps, make_bars):
    steps.make_bars = lambda rows: make_bars(rows, missing=(rows - 1,))
    steps.run("coin")
    assert make_bars(300)["timestamp"].iloc[-2].isoformat() in steps.considered[0][2]


def test_without_a_name_every_dataset_has_its_turn(steps):
    assert steps.run() == DONE
    assert [dataset for dataset, *_ in steps.considered] == ["coin", "share"]


@pytest.mark.parametrize("stage", ["download", "prepare", "train"])
def test_a_step_that_fails_is_one_line_and_the_next_run_goes_on(steps, stage):
    steps.fault[stage] = 255
    assert steps.run("coin") == FAILED
    assert steps.considered == []
    assert f"{stage}@coin" in steps.lines[-1]
    assert "ended with status 255" in steps.lines[-1]
    assert "\n" not in steps.lines[-1]
    assert steps.run("coin") == DONE
    assert len(steps.considered) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (TrackingError("tracking server http://x doesn't answer"), "tracking server http://x doesn't answer."),
        (OSError(errno.ENOSPC, "No space left on device", "online.db"), "No space left on device: online.db."),
    ],
)
def test_a_dead_server_and_a_full_disk_are_one_line_each(steps, fault, words):
    steps.fault["gate"] = fault
    assert steps.run("coin") == FAILED
    assert steps.lines[-1] == f"coin: failed: {words} The next run goes on from here."
    assert steps.run("coin") == DONE


@pytest.mark.parametrize("fault", [1, RuntimeError("PytorchStreamWriter failed\nwriting file")])
def test_one_dataset_that_fails_does_not_keep_the_others_from_it(steps, fault):
    steps.fault["download"] = fault
    assert steps.run() == FAILED
    assert [dataset for dataset, *_ in steps.considered] == ["share"]
    assert not any("\n" in line for line in steps.lines)


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_lock_holds_although_a_full_disk_refuses_its_note(steps, root, monkeypatch):
    note = root / ".carrossel" / "locks" / "retrain.json"
    note.parent.mkdir(parents=True)
    note.write_text('{"pid": 1, "host": "killed", "since": "long ago"}')
    monkeypatch.setattr("carrossel.online.locking.write_json", full)
    with alone(root, retraining.LOCK, now=NOW):
        assert not note.exists()
        assert steps.run("coin") == BUSY
    assert steps.run("coin") == DONE


def test_a_lock_that_a_full_disk_refuses_is_one_clear_error(root, monkeypatch):
    monkeypatch.setattr("carrossel.online.locking.FileLock.acquire", full)
    with (
        pytest.raises(CarrosselError, match=r"retrain.lock can't be made: No space left on device\. Nothing was done"),
        alone(root, retraining.LOCK, now=NOW),
    ):
        pass


def test_weights_that_do_not_fit_on_the_disk_are_one_clear_error_and_leave_the_old_ones(trained, tmp_path, monkeypatch):
    """As safetensors tells of a full disk: by an exception that is no OSError."""
    folder, _ = trained
    model = load(folder)
    (tmp_path / "model.safetensors").write_bytes(b"old")

    def refuse(_weights, path):
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("carrossel.forecaster.stored.save_file", refuse)
    with pytest.raises(ModelError, match=r"model.safetensors can't be written: I/O error: No space left"):
        save(tmp_path, model.network, model.manifest)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert (tmp_path / "model.safetensors").read_bytes() == b"old"


def test_a_second_retraining_hears_who_is_first_and_leaves(steps, root):
    with alone(root, retraining.LOCK, now=NOW):
        assert steps.run("coin") == BUSY
        with pytest.raises(Busy):
            retrain("coin", root, now=NOW, dvc=steps.dvc)
    assert steps.calls == []
    assert f"process {os.getpid()} on" in steps.lines[-1]
    assert "since 2026-01-02T03:04:00+00:00" in steps.lines[-1]
    assert steps.run("coin") == DONE


def test_one_dataset_alone_gives_an_outcome(steps, root):
    first = retrain("coin", root, now=NOW, tell=steps.lines.append, dvc=steps.dvc)
    second = retrain("coin", root, now=NOW, tell=steps.lines.append, dvc=steps.dvc)
    assert (first.decided, second.decided) == (True, False)
    assert first.key == second.key == steps.considered[0][2]


def test_an_interrupt_is_told_and_frees_the_lock(steps):
    steps.fault["prepare"] = KeyboardInterrupt()
    assert steps.run("coin") == INTERRUPTED
    assert "stopped; what was finished is kept" in steps.lines[-1]
    assert steps.run("coin") == DONE


def test_sigterm_unwinds_and_has_a_status_of_its_own(steps):
    def terminated(arguments, root):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)  # never slept to its end
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert retrain_all(["coin"], steps.root, clock=lambda: NOW, tell=steps.lines.append, dvc=terminated) == TERMINATED
    assert signal.getsignal(signal.SIGTERM) is before


def test_names_that_lead_nowhere_are_told_before_anything_is_done(steps, root):
    with pytest.raises(ConfigError, match=r"datasets has no key 'moon'; it has: coin, share"):
        steps.run("coin", "moon")
    write_params(root, changed(online={"retrain": {"cells": ["lstm", "gruu"]}}))
    with pytest.raises(
        ConfigError, match=r"online\.retrain\.cells names 'gruu', which `cells` doesn't have; choose from lstm, gru"
    ):
        steps.run("coin")
    assert steps.calls == []


def test_a_clean_tree_is_its_commit_and_a_changed_one_says_what_it_holds(root, monkeypatch):
    assert revision(root) == "abc"
    monkeypatch.setattr(retraining, "code_revision", lambda: "abc-dirty")
    first = revision(root)
    assert first.startswith("abc-dirty-")
    assert revision(root) == first
    write_params(root, changed(training={"epochs": 3}))
    assert revision(root) != first


def test_what_killed_processes_left_a_week_ago_is_removed_and_nothing_else(steps, root):
    def put(folder, days):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_text("some")
        then = (NOW - pd.Timedelta(days=days)).timestamp()
        for path in (root / folder / "file", root / folder):
            os.utime(path, (then, then))

    gone = [
        ".carrossel/checkpoints/done",
        "data/raw/.coin.ab3_d6h8",
        "models/coin/.lstm.abcdefgh",
        "models/coin/.lstm.old.abcdefgh",
        ".carrossel/retrain/coin/.lstm_warm.abcdefgh",
    ]
    kept = [
        "data/raw/coin",
        "models/coin/lstm",
        "models/coin/.gru.old.abcdefgh",  # of a gru that isn't there: the only copy
        "data/raw/.dvc",
        ".carrossel/champions/coin/1",
    ]
    young = [".carrossel/checkpoints/running", "models/coin/.lstm.ijklmnop"]
    for folder in gone + kept:
        put(folder, 8)
    for folder in young:
        put(folder, 6)

    assert steps.run("coin") == DONE
    assert [folder for folder in gone if (root / folder).exists()] == []
    assert [folder for folder in kept + young if not (root / folder / "file").exists()] == []
    assert steps.lines[0].startswith("5 folders that killed processes had left")


# ---------------------------------------------------------------- warm start


@contextmanager
def memory_run(*_args, **_options):
    yield MemoryRecorder()


def nothing(_recorder, _folder):
    """Instead of logging."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An lstm of PARAMS, trained on 300 bars, and those bars."""
    from walks import make_bars

    root = tmp_path_factory.mktemp("trained")
    recipe = read_recipe("coin", "lstm", PARAMS)
    bars = make_bars(300)
    options = {"checkpoints": root / "checkpoints", "open_run": memory_run, "finish": nothing}
    train(bars, recipe, data_sha256="old", folder=root / "1", **options)
    return root / "1", bars


@pytest.fixture
def no_tracking(monkeypatch):
    monkeypatch.setattr("carrossel.tracking.mlflow_recorder.open_run", memory_run)
    monkeypatch.setattr("carrossel.tracking.relog.log_model_folder", nothing)


def champion(folder):
    return Champion("coin", "1", folder, "version 1 (lstm) is coin's champion")


@pytest.mark.usefixtures("no_tracking")
def test_the_champion_trained_on_is_a_challenger_once(trained, root, make_bars, monkeypatch):
    folder, _ = trained
    bars = make_bars(320)
    found = train_on(champion(folder), bars, "new", PARAMS, root)
    assert found.folder == root / ".carrossel" / "retrain" / "coin" / "lstm_warm"
    manifest = json.loads((found.folder / "manifest.json").read_text())
    assert manifest["competitor"] == "lstm_warm"
    assert manifest["data_sha256"] == "new"
    assert manifest["start_sha256"] == sha256(folder / "model.safetensors")
    assert manifest["bars"]["rows"] == 320
    assert list((root / ".carrossel" / "checkpoints").iterdir()) == []

    monkeypatch.setattr("carrossel.training.session.fit", None)
    again = train_on(champion(folder), bars, "new", PARAMS, root)
    assert again.folder == found.folder
    assert "had been trained on already" in again.reason


@pytest.mark.usefixtures("no_tracking")
def test_training_on_starts_from_the_champions_weights(trained, root):
    from safetensors.numpy import load_file

    folder, bars = trained
    slow = changed(training={"learning_rate": 1e-9, "epochs": 1})
    warm = train_on(champion(folder), bars, "new", slow, root).folder
    before, after = load_file(folder / "model.safetensors"), load_file(warm / "model.safetensors")
    assert before.keys() == after.keys()
    # a few steps of 1e-9 each
    assert max(abs(before[name] - after[name]).max() for name in before) < 1e-6


@pytest.mark.usefixtures("no_tracking")
def test_a_champion_that_is_older_than_a_setting_has_its_default(trained, root, tmp_path):
    folder, bars = shutil.copytree(trained[0], tmp_path / "old"), trained[1]
    manifest = json.loads((folder / "manifest.json").read_text())
    for setting in ("zoneout", "bidirectional"):
        del manifest["cell"]["config"][setting]
    (folder / "manifest.json").write_text(json.dumps(manifest))

    assert train_on(champion(folder), bars, "new", changed(training={"epochs": 1}), root).folder is not None


@pytest.mark.usefixtures("no_tracking")
def test_training_on_that_was_killed_ends_as_an_undisturbed_one(
    trained, root, tmp_path_factory, make_bars, monkeypatch
):
    folder, _ = trained
    bars = make_bars(320)
    other = tmp_path_factory.mktemp("undisturbed")
    undisturbed = train_on(champion(folder), bars, "new", PARAMS, other).folder
    with monkeypatch.context() as patch:
        patch.setattr("carrossel.training.session.write_model", lambda *_: (_ for _ in ()).throw(SystemExit("killed")))
        with pytest.raises(SystemExit):
            train_on(champion(folder), bars, "new", PARAMS, root)
    resumed = train_on(champion(folder), bars, "new", PARAMS, root).folder
    for name in ("model.safetensors", "history.csv", "forecasts.parquet"):
        assert sha256(resumed / name) == sha256(undisturbed / name)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"cells": {"lstm": {"hidden_size": 4}}}, "another cell than params.yaml has"),
        ({"windows": {"lookback": 5}, "head": {"kind": "student_t"}}, "another windows and head than params.yaml has"),
        ({"target": {"kind": "price"}}, "another target than params.yaml has"),
    ],
)
def test_a_champion_that_answers_another_recipe_is_left_out_with_a_word(trained, root, sections, words):
    folder, bars = trained
    found = train_on(champion(folder), bars, "new", changed(**sections), root)
    assert found.folder is None
    assert words in found.reason


def test_a_champion_whose_cell_is_gone_is_left_out(trained, root):
    folder, bars = trained
    found = train_on(champion(folder), bars, "new", {**PARAMS, "cells": {"gru": {"hidden_size": 3}}}, root)
    assert found.reason == "the champion's cell 'lstm' isn't among the cells of params.yaml"


def test_a_champion_that_was_trained_on_what_judges_now_is_left_out(trained, root, make_bars):
    folder, _ = trained
    found = train_on(champion(folder), make_bars(260), "new", PARAMS, root)  # its training reached to bar 210 of 300
    assert found.folder is None
    assert "has seen bars that are validation bars now" in found.reason


def test_without_a_champion_and_with_a_damaged_one_there_is_no_warm_start(trained, root, tmp_path):
    _, bars = trained
    nobody = Champion("coin", None, None, "persistence serves: coin has no champion")
    assert train_on(nobody, bars, "new", PARAMS, root).reason == nobody.reason
    found = train_on(champion(tmp_path), bars, "new", PARAMS, root)
    assert found.folder is None
    assert "can't be used" in found.reason


def test_the_warm_start_enters_with_the_others(steps, root, trained, monkeypatch):
    folder, _ = trained
    write_params(root, changed(online={"retrain": {"cells": ["lstm"]}}))
    monkeypatch.setattr("carrossel.online.champion.find_champion", lambda *_, **__: champion(folder))
    monkeypatch.setattr("carrossel.tracking.mlflow_recorder.open_run", memory_run)
    monkeypatch.setattr("carrossel.tracking.relog.log_model_folder", nothing)
    assert steps.run("coin") == DONE
    assert steps.considered[0][1] == ["models/coin/lstm", ".carrossel/retrain/coin/lstm_warm"]
    assert any("warm start: version 1 was trained on" in line for line in steps.lines)


# ---------------------------------------------------------------- processes


def test_a_child_gets_this_python_and_dies_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "worker.py").write_text(
        "import os, shutil, sys, time\nopen('seen', 'w').write(f'{os.getpid()} {shutil.which(\"python\")} {sys.argv[1:]}')\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import pathlib; from carrossel.online import children; children.run('worker', ['a', 'b c'], pathlib.Path.cwd())",
        ],
        cwd=tmp_path,
        env={**os.environ, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
    )
    wait_for(lambda: (tmp_path / "seen").exists() and (tmp_path / "seen").read_text().endswith("]"))
    pid, python, arguments = (tmp_path / "seen").read_text().split(" ", 2)
    assert Path(python).parent == Path(sys.executable).parent
    assert arguments == "['a', 'b c']"
    parent.kill()
    parent.wait()
    wait_for(lambda: not alive(int(pid)))


def test_a_child_that_does_not_heed_is_killed_after_its_grace(tmp_path):
    (tmp_path / "deaf.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('seen', 'w').close()\ntime.sleep(60)\n"
    )
    child = children.start("deaf", [], tmp_path)
    wait_for((tmp_path / "seen").exists)
    assert children.stop(child, grace=0.1) == -signal.SIGKILL


@pytest.fixture
def other():
    """Another DVC, for all that can be seen of it: a Python process."""
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.communicate()


def write_rwlock(root, *, write=None, read=None):
    path = root / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = {"write": {} if write is None else {"/data/raw/coin": {"pid": write, "cmd": "dvc repro"}}}
    entries["read"] = {} if read is None else {"/params.yaml": [{"pid": read, "cmd": "dvc status"}]}
    path.write_text(json.dumps(entries))
    return path


@pytest.fixture
def called(monkeypatch):
    """Calls of DVC, none of which is made."""
    calls = []
    monkeypatch.setattr(children, "run", lambda module, arguments, root: calls.append((module, *arguments)) or 0)
    return calls


def test_entries_of_processes_that_are_no_more_do_not_keep_dvc_out(tmp_path, called, other):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = write_rwlock(tmp_path, write=gone.pid, read=gone.pid)
    assert run_dvc(["repro"], tmp_path, sleep=None) == 0
    assert json.loads(path.read_text()) == {"write": {}, "read": {}}

    path = write_rwlock(tmp_path, write=other.pid, read=other.pid)  # the number was given to another since
    os.utime(path, (time.time() - 3600,) * 2)
    assert run_dvc(["repro"], tmp_path, sleep=None) == 0
    assert json.loads(path.read_text()) == {"write": {}, "read": {}}
    assert called == [("dvc", "--wait-for-lock", "repro")] * 2


def test_an_entry_of_a_process_that_is_no_dvc_does_not_keep_dvc_out(tmp_path, called):
    child = subprocess.Popen(["sleep", "60"])
    try:
        wait_for(lambda: b"sleep" in Path(f"/proc/{child.pid}/cmdline").read_bytes())
        write_rwlock(tmp_path, write=child.pid)
        assert run_dvc(["repro"], tmp_path, sleep=None) == 0
    finally:
        child.kill()
        child.wait()
    assert len(called) == 1


def test_an_rwlock_that_was_cut_off_is_removed(tmp_path, called):
    path = write_rwlock(tmp_path)
    path.write_text('{"write": {"/da')
    assert run_dvc(["repro"], tmp_path, sleep=None) == 0
    assert not path.exists()
    assert len(called) == 1


def test_a_dvc_that_works_elsewhere_is_waited_for(tmp_path, called, other):
    path = write_rwlock(tmp_path, write=other.pid)
    before, waits = path.read_text(), []

    def end(seconds):
        waits.append(seconds)
        assert path.read_text() == before
        if len(waits) == 2:
            write_rwlock(tmp_path)

    assert run_dvc(["repro"], tmp_path, sleep=end) == 0
    assert len(waits) == 2
    assert len(called) == 1


def test_a_dvc_that_goes_on_working_elsewhere_is_left_alone(steps, tmp_path, called, other):
    write_rwlock(tmp_path, read=other.pid)
    waits = []
    with pytest.raises(Busy, match=rf"another DVC works in this project: dvc status \(process {other.pid}\)"):
        run_dvc(["repro"], tmp_path, sleep=waits.append)
    assert sum(waits) == 60
    assert called == []

    steps.fault["download"] = Busy("another DVC works in this project")
    assert steps.run("coin") == BUSY
    assert "another DVC works in this project" in steps.lines[-1]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


SCRIPT = """import pathlib, shutil, sys
print(pathlib.Path(sys.argv[0]).stem, "ran")
target = pathlib.Path(sys.argv[2])
target.parent.mkdir(parents=True, exist_ok=True)
shutil.copy(sys.argv[1], target)
"""


def test_dvc_fetches_prepares_and_trains(root, make_bars, monkeypatch, capfd):
    """The only one with DVC itself, on stages that copy a file: each call of DVC costs a second or two."""
    write_params(root, changed(online={"retrain": {"cells": ["gru"], "warm_start": False}}))
    write_bars(root / "exchange.parquet", make_bars(50))
    chain = ["exchange", "data/raw/coin", "data/bars/coin", "models/coin/gru"]
    stages = {}
    for stage, source, target in zip(
        ("download@coin", "prepare@coin", "train@coin-gru"), chain, chain[1:], strict=False
    ):
        name, _, item = stage.partition("@")
        (root / f"{name}.py").write_text(SCRIPT)
        paths = (f"{source}.parquet", f"{target}.parquet")
        # an exchange isn't a file: DVC can't see that it has something new
        deps = [paths[0]] if name != "download" else []
        entry = {"cmd": " ".join(["python", f"{name}.py", *paths]), "deps": deps, "outs": [paths[1]]}
        stages[name] = {"foreach": [item], "do": entry}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text(
        "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
    )
    found = Steps(root, make_bars)
    monkeypatch.setattr("carrossel.online.promotion.consider", found.consider)
    monkeypatch.setattr("carrossel.online.promotion.reconcile", found.reconcile)

    def run():
        status = retrain_all(["coin"], root, clock=lambda: NOW, tell=found.lines.append)
        said = "".join(capfd.readouterr())
        assert status == DONE, said
        return [line for line in said.splitlines() if line.endswith(" ran")]

    assert run() == ["download ran", "prepare ran", "train ran"]
    assert len(found.considered) == 1
    assert (root / "models" / "coin" / "gru.parquet").is_file()
