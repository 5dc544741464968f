"""Killed and gone on: nothing finished is done twice, nothing is lost, and the bytes are those of an undisturbed run."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml
from walk_forward_params import PARAMS

from carrossel.bars.store import write_bars
from carrossel.errors import TrainingError
from carrossel.walk_forward import running
from carrossel.walk_forward.plan import read_plan
from carrossel.workers import result_of

pytestmark = pytest.mark.timeout(240)


def lines_of(capsys):
    return capsys.readouterr().out.splitlines()


def after_parts(monkeypatch, count, act):
    """Call `act` once, when so many parts are written."""
    written = []

    def write(rows, path):
        original(rows, path)
        written.append(path)
        if len(written) == count:
            act()

    original = running._write
    monkeypatch.setattr(running, "_write", write)
    return written


def test_a_walk_interrupted_in_the_middle_ends_with_the_same_bytes_and_repeats_nothing(
    make_bars, params, walk, monkeypatch, capsys, tmp_path
):
    bars, chosen = make_bars(200), params()
    expected = walk(bars, chosen, "undisturbed").read_bytes()
    shutil.rmtree(tmp_path / "undisturbed" / "parts")
    assert walk(bars, chosen, "undisturbed").read_bytes() == expected

    def interrupt():
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        kept = after_parts(patched, 3, interrupt)
        with pytest.raises(KeyboardInterrupt):
            walk(bars, chosen)
    times = {part: part.stat().st_mtime_ns for part in kept}
    assert sorted(tmp_path.glob("one/parts/*/*.parquet")) == sorted(kept)
    lines_of(capsys)
    with monkeypatch.context() as patched:
        looked = []
        after_parts(patched, 5, lambda: looked.append({part: part.stat().st_mtime_ns for part in kept}))
        assert walk(bars, chosen).read_bytes() == expected
    assert looked == [times]
    lines = lines_of(capsys)
    assert lines[0] == "walk_forward@walk: 8 tasks on 2 folds, 3 of them finished before"
    assert len(lines) == 6


def test_an_edit_to_one_model_refits_that_one_alone_and_forgets_its_old_parts(
    make_bars, params, walk, capsys, tmp_path
):
    walk(make_bars(200), params(walk_forward={"models": ["drift", "rnn"], "seeds": 1}))
    drift = {part: part.stat().st_mtime_ns for part in tmp_path.glob("one/parts/*/drift-*.parquet")}
    lines_of(capsys)
    changed = params(walk_forward={"models": ["drift", "rnn"], "seeds": 1}, cells={"rnn": {"hidden_size": 5}})
    walk(make_bars(200), changed)
    assert lines_of(capsys)[0] == "walk_forward@walk: 4 tasks on 2 folds, 2 of them finished before"
    assert {part: part.stat().st_mtime_ns for part in drift} == drift
    assert len(list(tmp_path.glob("one/parts/*/*"))) == 4


@pytest.mark.parametrize(
    ("changed", "sha", "kept"),
    [
        ({"seeds": 3, "models": ["drift", "rnn"]}, "hash", 2),  # what other tasks there are says nothing about a part
        ({"embargo": 1}, "hash", 0),
        ({}, "other data", 0),
    ],
    ids=["more seeds", "other folds", "other data"],
)
def test_finished_parts_are_kept_for_the_same_model_folds_and_data_alone(params, changed, sha, kept, tmp_path):
    def parts(plan, sha):
        return {
            (plan.fingerprint(task.model, sha, "code"), task.model.name, task.seed, task.fold) for task in plan.tasks(1)
        }

    before = parts(read_plan("walk", params(walk_forward={"models": ["rnn"], "seeds": 2})), "hash")
    after = parts(read_plan("walk", params(walk_forward={"models": ["rnn"], "seeds": 2, **changed})), sha)
    assert len(before & after) == kept


def test_killed_workers_lose_nothing(make_bars, params, walk, cluster, monkeypatch):
    bars, chosen = make_bars(200), params(training={"epochs": 8})
    expected = walk(bars, chosen, "undisturbed").read_bytes()
    pids = {worker.pid for worker in cluster.workers.values()}

    def kill_all():
        # Both at once, so that the bars that tasks share are gone from every worker too.
        while not any(worker.processing for worker in cluster.scheduler.workers.values()):
            time.sleep(0.001)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    after_parts(monkeypatch, 2, kill_all)
    assert walk(bars, chosen).read_bytes() == expected
    assert {worker.pid for worker in cluster.workers.values()}.isdisjoint(pids)


@pytest.fixture
def mortal(tmp_path):
    """A scheduler with one worker, as processes of their own: its address, and the scheduler's process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    host, port = "127.0.0.1", address.rpartition(":")[2]
    commands = (
        ["scheduler", "--host", host, "--port", port, "--no-dashboard"],
        ["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)],
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path
        )
        for command in commands
    ]
    yield address, processes[0]
    for process in processes:
        process.kill()
        process.wait()


def test_a_scheduler_that_dies_is_one_clear_line_and_keeps_what_is_finished(
    make_bars, params, walk, mortal, monkeypatch, capfd, tmp_path
):
    address, scheduler = mortal
    monkeypatch.setattr("carrossel.workers._ANSWER_S", 60)  # two cold processes, on a machine that may be busy
    kept = after_parts(monkeypatch, 2, scheduler.kill)
    bars = make_bars(200)
    with pytest.raises(
        TrainingError, match=r"lost the connection to the scheduler .* finished parts are kept"
    ) as caught:
        walk(bars, params(walk_forward={"scheduler": address, "models": ["drift", "ar"], "folds": 4}))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    assert len(kept) >= 2
    assert sorted(tmp_path.glob("one/parts/*/*.parquet")) == sorted(kept)


def test_what_a_task_itself_raises_is_not_blamed_on_the_scheduler():
    class Failed:
        status = "error"

        def result(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        result_of(Failed(), "task", "walk_forward")


def test_a_strangers_file_among_the_parts_is_let_be(make_bars, params, walk, tmp_path):
    stray = tmp_path / "one" / "parts" / ".DS_Store"
    stray.parent.mkdir(parents=True)
    stray.write_text("a file manager's")
    (stray.parent / "old").mkdir()
    walk(make_bars(200), params(walk_forward={"models": ["drift"]}))
    assert stray.exists()
    assert not (stray.parent / "old").exists()


def test_a_failing_task_is_one_clear_line_and_keeps_the_table_and_what_is_finished(make_bars, params, walk, tmp_path):
    before = walk(make_bars(200), params(walk_forward={"models": ["drift"]})).read_bytes()
    bars = make_bars(200)
    bars.loc[150:, ["open", "high", "low", "close"]] *= 1e60  # scaled, more than float32 holds
    chosen = params(walk_forward={"models": ["drift", "rnn"]}, target={"kind": "price"})
    with pytest.raises(TrainingError, match=r"^rnn seed \d fold 0: no epoch ended with a finite validation loss"):
        walk(bars, chosen)
    assert (tmp_path / "one" / "table.parquet").read_bytes() == before
    kept = {part.name for part in tmp_path.glob("one/parts/*/*.parquet")}
    assert "drift-seed1-fold0.parquet" in kept
    assert not {name for name in kept if name.startswith("rnn") and "fold0" in name}


@pytest.fixture
def small_project(project, make_bars):
    chosen = yaml.safe_load((project / "params.yaml").read_text())
    chosen.update({name: values for name, values in PARAMS.items() if name != "datasets"})
    # Many short tasks: a kill after the second comes long before the last, and no worker has to import Lightning.
    chosen["walk_forward"] = {"models": ["ar", "drift"], "folds": 20, "workers": 1}
    (project / "params.yaml").write_text(yaml.safe_dump(chosen))
    (project / "data" / "bars").mkdir(parents=True)
    write_bars(project / "data" / "bars" / "bitcoin.parquet", make_bars(1000))
    return project


def start(project):
    return subprocess.Popen(
        [sys.executable, "pipeline/walk_forward.py", "bitcoin"],
        cwd=project,
        env={**os.environ, "CARROSSEL_ROOT": str(project)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_killed_stage_goes_on_with_the_folds_it_lacks(small_project):
    process = start(small_project)
    for line in process.stdout:
        if ": 2/40 " in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()  # returns when the workers too have let go of the pipe: none is left behind
    parts = list((small_project / ".carrossel" / "walk_forward" / "bitcoin").glob("*/*.parquet"))
    assert len(parts) >= 2
    assert not (small_project / "reports").exists()
    last = start(small_project)
    output, _ = last.communicate()
    assert last.returncode == 0, output
    lines = output.splitlines()
    assert lines[0] == f"walk_forward@bitcoin: 40 tasks on 20 folds, {len(parts)} of them finished before"
    assert lines[-1].startswith("walk_forward@bitcoin: 40/40 ")
    assert len(lines) == 1 + 40 - len(parts)
    assert (small_project / "reports" / "walk_forward" / "bitcoin.parquet").is_file()
    assert len(list((small_project / ".carrossel" / "walk_forward" / "bitcoin").glob("*/*"))) == 40
