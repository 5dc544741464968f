"""Local workers that die before they are ready are started anew, a few times."""

import os
import signal

import psutil
import pytest
from distributed.process import AsyncProcess

from carrossel.errors import TrainingError
from carrossel.workers import open_client


@pytest.fixture
def kill_at_birth(monkeypatch):
    """Lets so many processes die as they are born."""

    def allow(count):
        async def start(process):
            await original(process)
            if next(left, None) is not None:
                os.kill(process.pid, signal.SIGKILL)

        original, left = AsyncProcess.start, iter(range(count))
        monkeypatch.setattr(AsyncProcess, "start", start)

    return allow


def test_a_worker_that_dies_as_it_starts_is_replaced(kill_at_birth, tmp_path):
    kill_at_birth(1)
    with open_client(None, 2, tmp_path, "tuning") as client:
        client.wait_for_workers(2, timeout=60)
        assert client.submit(os.getpid).result(timeout=60) != os.getpid()


def test_workers_that_never_start_are_one_clear_line_and_leave_no_process(kill_at_birth, tmp_path):
    kill_at_birth(100)
    before = set(psutil.Process().children(recursive=True))
    with (
        pytest.raises(TrainingError, match=r"tuning\.workers = 2: the workers didn't start, 3 times running"),
        open_client(None, 2, tmp_path, "tuning"),
    ):
        pass
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [each for each in left if "resource_tracker" not in " ".join(each.cmdline())]
