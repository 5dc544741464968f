"""A stage ends with one line per error, runs once at a time, and dies with its parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest


@pytest.fixture
def run_stage(tmp_path):
    (tmp_path / "params.yaml").write_text("{}")

    def start(body, *, wrapper=()):
        script = tmp_path / "stage.py"
        script.write_text(
            "import sys, time, errno\nfrom carrossel import stage\nfrom carrossel.errors import SourceError\n"
            f"def work(item):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
            "stage.run(work, 'bitcoin', name='download@bitcoin')\n"
        )
        return subprocess.Popen(
            [*wrapper, sys.executable, str(script)],
            cwd=tmp_path,
            env={**os.environ, "CARROSSEL_ROOT": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_a_users_error_is_one_line_and_exit_status_1(run_stage):
    process = run_stage("raise SourceError('no rows\\nin x.csv')")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error == "download@bitcoin: no rows in x.csv\n"


def test_a_full_disk_is_one_line(run_stage):
    process = run_stage("raise OSError(errno.ENOSPC, 'No space left on device', 'data/x.parquet')")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error.startswith("download@bitcoin: No space left on device: data/x.parquet")
    assert error.count("\n") == 1


def test_a_bug_keeps_its_traceback(run_stage):
    process = run_stage("raise AssertionError('broken invariant')")
    _, error = process.communicate(timeout=60)
    assert "Traceback" in error


def test_the_same_stage_does_not_run_twice_at_once(run_stage):
    first = run_stage("print('in', flush=True); time.sleep(60)")
    assert first.stdout.readline() == "in\n"
    second = run_stage("print('in', flush=True)")
    _, error = second.communicate(timeout=60)
    first.kill()
    first.communicate()
    assert second.returncode == 1
    assert "another process is at this work" in error


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_stage_dies_with_its_parent(run_stage):
    # The wrapper starts the stage as its child and waits, as DVC does.
    wrapper = (sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])")
    parent = run_stage("import os; print(os.getpid(), flush=True); time.sleep(60)", wrapper=wrapper)
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate(timeout=10)
    for _ in range(100):
        try:
            if Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                break
        except (FileNotFoundError, ProcessLookupError):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the stage outlived its parent")
