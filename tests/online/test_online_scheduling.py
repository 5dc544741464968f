"""The schedule: one catch-up, one scheduler, one retraining, a store of words, a stop in bounded time."""

import errno
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from carrossel.errors import Busy, ConfigError, StoreError
from carrossel.online.cron import read_cron
from carrossel.online.scheduling import Schedule, run_schedule

SOON = 20  # seconds: no test waits so long unless it fails


class Child:
    """A retraining that ends when it is told to."""

    def __init__(self, status=None):
        self.status = status
        self.ended = threading.Event()
        if status is not None:
            self.ended.set()

    def wait(self, timeout=None):
        if not self.ended.wait(SOON if timeout is None else timeout):
            raise subprocess.TimeoutExpired("child", timeout)
        return self.status

    def end(self, status):
        self.status = status
        self.ended.set()

    def terminate(self):
        self.end(143)

    def kill(self):
        self.end(-9)


class Running:
    """A schedule at work in a thread."""

    def __init__(self, root, cron="5 * * * *", dataset=None, status=0):
        self.lines, self.started, self.children, self.errors = [], [], [], []
        self.status = status
        self.schedule = Schedule(cron, root, dataset=dataset, tell=self.lines.append, start=self.start)
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self, arguments):
        self.started.append(arguments)
        self.children.append(Child(self.status))
        return self.children[-1]

    def run(self):
        try:
            self.schedule.run()
        except Exception as error:  # noqa: BLE001 - told by the test
            self.errors.append(error)

    def __enter__(self):
        self.thread.start()
        until(lambda: self.lines or self.errors)
        return self

    def __exit__(self, *_):
        self.schedule.stop()
        self.thread.join(SOON)
        assert not self.thread.is_alive()

    @property
    def ended(self):
        """Retrainings that APScheduler has done with: before that it doesn't start another."""
        return len(self.children) - self.schedule._executors["default"]._instances["retrain"]

    def says(self, words):
        return any(words in line for line in self.lines)


def until(condition):
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def row(root):
    with sqlite3.connect(root / ".carrossel" / "schedule.db") as connection:
        found = connection.execute("SELECT next_run_time, job_state FROM apscheduler_jobs").fetchall()
    connection.close()
    assert len(found) == 1
    return found[0][0], json.loads(found[0][1])


def set_next(root, moment):
    _, state = row(root)
    state["next_run_time"] = moment.isoformat()
    with sqlite3.connect(root / ".carrossel" / "schedule.db") as connection:
        connection.execute(
            "UPDATE apscheduler_jobs SET next_run_time = ?, job_state = ?",
            (moment.timestamp(), json.dumps(state).encode()),
        )
    connection.close()


def ago(**time):
    return datetime.now(UTC) - timedelta(**time)


@pytest.fixture
def scheduled(tmp_path):
    """A project whose schedule has run once."""
    with Running(tmp_path) as first:
        pass
    assert first.started == []
    return tmp_path


def test_the_first_start_waits_for_its_time_and_says_when(tmp_path):
    with Running(tmp_path, dataset="bitcoin") as running:
        pass
    assert running.says("5 * * * * (UTC), for the first time; next at")
    assert running.started == []
    at, state = row(tmp_path)
    assert (state["cron"], state["dataset"]) == ("5 * * * *", "bitcoin")
    assert datetime.fromtimestamp(at, UTC).minute == 5
    assert 0 < at - time.time() <= 3600


def test_the_job_store_is_words_that_its_owner_alone_can_read(scheduled):
    file = scheduled / ".carrossel" / "schedule.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    _, state = row(scheduled)  # JSON, or this had failed
    assert set(state) == {"cron", "dataset", "next_run_time"}


def test_all_that_was_missed_is_caught_up_by_exactly_one_retraining(scheduled):
    set_next(scheduled, ago(days=3))
    with Running(scheduled, dataset="google") as running:
        until(lambda: running.says("ended well"))
        running.schedule.wakeup()
    assert running.started == [["retrain", "--once", "--actor", "carrossel schedule", "--dataset", "google"]]
    assert running.says("one retraining catches up now")
    assert row(scheduled)[0] > time.time()
    with Running(scheduled) as again:
        pass
    assert again.started == []


def test_a_restart_without_a_miss_keeps_the_next_run(scheduled):
    before = row(scheduled)[0]
    with Running(scheduled) as running:
        pass
    assert running.started == []
    assert row(scheduled)[0] == before


def test_a_clock_that_jumps_forward_gives_exactly_one_catch_up(scheduled):
    with Running(scheduled) as running:
        set_next(scheduled, ago(hours=30))  # the same to the scheduler as a clock 30 hours later
        running.schedule.wakeup()
        until(lambda: running.says("ended well"))
        running.schedule.wakeup()
    assert len(running.started) == 1


def test_a_clock_that_was_ahead_does_not_put_the_next_run_off(scheduled):
    set_next(scheduled, ago(days=-400))
    with Running(scheduled) as running:
        running.schedule.wakeup()
        set_next(scheduled, ago(days=-400))
        running.schedule.wakeup()
        until(lambda: running.says("the clock went back"))
    assert running.started == []
    assert row(scheduled)[0] - time.time() <= 3600


def test_another_expression_is_told_and_keeps_a_missed_run(scheduled):
    set_next(scheduled, ago(hours=5))
    with Running(scheduled, cron="0 3 * * *") as running:
        until(lambda: running.says("ended well"))
    assert running.says("the schedule was 5 * * * * and is 0 3 * * * (UTC) now")
    assert len(running.started) == 1
    at, state = row(scheduled)
    assert state["cron"] == "0 3 * * *"
    assert datetime.fromtimestamp(at, UTC).hour == 3


def test_another_expression_without_a_miss_sets_the_next_run(scheduled):
    with Running(scheduled, cron="7 * * * *") as running:
        pass
    assert running.started == []
    assert datetime.fromtimestamp(row(scheduled)[0], UTC).minute == 7


def test_a_retraining_that_still_runs_is_not_joined_by_a_second(scheduled):
    set_next(scheduled, ago(hours=1))
    with Running(scheduled, status=None) as running:
        until(lambda: running.children and row(scheduled)[0] > time.time())
        set_next(scheduled, ago(hours=1))
        running.schedule.wakeup()
        until(lambda: running.says("maximum number of running instances"))
        running.children[0].end(0)
        until(lambda: running.says("ended well"))
    assert len(running.started) == 1


def test_a_stop_ends_the_running_retraining_which_goes_on_at_the_next_start(scheduled):
    set_next(scheduled, ago(hours=1))
    with Running(scheduled, status=None) as running:
        until(lambda: running.children)
    assert running.children[0].status == 143
    assert running.says("stopping the retraining")
    with Running(scheduled) as again:
        until(lambda: again.says("ended well"))
    assert again.says("was cut off; it goes on now")
    assert len(again.started) == 1
    with Running(scheduled) as third:
        pass
    assert third.started == []


def half_a_year_away():
    """An expression whose next time is months from now, whenever the test runs."""
    return f"0 0 1 {(datetime.now(UTC).month + 5) % 12 + 1} *"


@pytest.mark.parametrize(("status", "words"), [(1, "failed with status 1"), (75, "left it to another process")])
def test_a_retraining_that_failed_is_tried_again_in_ten_minutes_also_after_a_restart(tmp_path, status, words):
    cron = half_a_year_away()
    with Running(tmp_path, cron):
        pass
    set_next(tmp_path, ago(hours=1))
    with Running(tmp_path, cron, status=status) as running:
        until(lambda: running.says("tried again"))
    assert running.says(words)
    assert 0 < row(tmp_path)[0] - time.time() <= 600
    with Running(tmp_path, cron) as again:
        pass
    assert again.started == []
    assert 0 < row(tmp_path)[0] - time.time() <= 600


def test_a_retraining_that_keeps_failing_is_left_to_cron_after_three_tries(tmp_path):
    cron = half_a_year_away()
    with Running(tmp_path, cron, status=1) as running:
        for run in range(4):
            set_next(tmp_path, ago(hours=1))
            running.schedule.wakeup()
            until(lambda run=run: running.ended == run + 1)
    assert sum("tried again" in line for line in running.lines) == 3
    assert row(tmp_path)[0] - time.time() > 3600


def test_cron_comes_first_where_it_comes_sooner_than_another_try(tmp_path):
    with Running(tmp_path, "* * * * *", status=1) as running:
        set_next(tmp_path, ago(hours=1))
        running.schedule.wakeup()
        until(lambda: running.ended == 1)
    assert not running.says("tried again")
    assert row(tmp_path)[0] - time.time() <= 60


def test_a_note_that_a_full_disk_refuses_does_not_keep_the_retraining_from_starting(scheduled, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("carrossel.online.scheduling.write_text", full)
    set_next(scheduled, ago(hours=1))
    with Running(scheduled) as running:
        until(lambda: running.says("ended well"))
    assert len(running.started) == 1


def test_a_job_that_is_not_ours_is_forgotten_and_never_run(scheduled):
    with sqlite3.connect(scheduled / ".carrossel" / "schedule.db") as connection:
        connection.execute("UPDATE apscheduler_jobs SET job_state = ?", (b"\x80\x05cos\nsystem\n.",))
    connection.close()
    with Running(scheduled) as running:
        pass
    assert running.says("something else than a job of ours")
    assert row(scheduled)[1]["cron"] == "5 * * * *"


def test_a_damaged_job_store_is_one_clear_error(tmp_path):
    (tmp_path / ".carrossel").mkdir()
    (tmp_path / ".carrossel" / "schedule.db").write_bytes(b"no database at all" * 100)
    running = Running(tmp_path)
    running.run()
    (error,) = running.errors
    assert isinstance(error, StoreError)
    assert "schedule.db can't be used" in str(error)


def test_a_second_scheduler_hears_who_is_first_and_ends(scheduled):
    now = pd.Timestamp("2026-01-02 03:04:05", tz="UTC")
    set_next(scheduled, ago(hours=1))
    said = []

    def start(_arguments):
        with pytest.raises(Busy) as busy:
            run_schedule("5 * * * *", scheduled, clock=lambda: now)
        said.append(str(busy.value))
        os.kill(os.getpid(), signal.SIGTERM)
        return Child()

    run_schedule("5 * * * *", scheduled, clock=lambda: now, tell=lambda _: None, start=start)
    assert f"process {os.getpid()} on" in said[0]
    assert "since 2026-01-02T03:04:05+00:00" in said[0]


def test_sigterm_ends_the_schedule_and_the_process_it_started(scheduled):
    set_next(scheduled, ago(hours=1))
    started = []

    def start(_arguments):
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return started[0]

    before = signal.getsignal(signal.SIGTERM)
    run_schedule("5 * * * *", scheduled, clock=lambda: pd.Timestamp.now("UTC"), tell=lambda _: None, start=start)
    assert started[0].returncode == -signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def fires(expression, start, count):
    trigger, moment, found = read_cron(expression, UTC), datetime.fromisoformat(start).replace(tzinfo=UTC), []
    for _ in range(count):
        moment = trigger.get_next_fire_time(None, moment)
        found.append(f"{moment:%a %d %H:%M}")
        moment += timedelta(minutes=1)
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("5 * * * *", ["Thu 01 00:05", "Thu 01 01:05"]),
        ("*/30 12 * * *", ["Thu 01 12:00", "Thu 01 12:30", "Fri 02 12:00"]),
        ("0 0 * * 0", ["Sun 04 00:00", "Sun 11 00:00"]),
        ("0 0 * * 7", ["Sun 04 00:00", "Sun 11 00:00"]),
        ("0 0 * * 1-5", ["Thu 01 00:00", "Fri 02 00:00", "Mon 05 00:00"]),
        ("0 0 * * 5-1", ["Fri 02 00:00", "Sat 03 00:00", "Sun 04 00:00", "Mon 05 00:00", "Fri 09 00:00"]),
        ("0 0 * * mon,FRI", ["Fri 02 00:00", "Mon 05 00:00"]),
        ("0 0 * * */3", ["Sat 03 00:00", "Sun 04 00:00", "Wed 07 00:00"]),
        ("0 0 */2 * 1", ["Mon 05 00:00", "Mon 19 00:00"]),
        ("0 0 1-20 * */3", ["Sat 03 00:00", "Sun 04 00:00", "Wed 07 00:00"]),
        ("0 0 13 * 5", ["Fri 02 00:00", "Fri 09 00:00", "Tue 13 00:00", "Fri 16 00:00"]),
    ],
)
def test_an_expression_means_what_cron_makes_of_it(expression, expected):
    assert fires(expression, "2026-01-01", len(expected)) == expected  # a Thursday


@pytest.mark.parametrize(
    "expression", ["", "5 * * *", "61 * * * *", "* * * * 8", "* * * * mon-", "0 0 * * 1/0", "@hourly", "0 0 31 2 *"]
)
def test_what_is_no_expression_is_one_clear_error(expression):
    with pytest.raises(ConfigError, match=r"--cron .* such as '5 \* \* \* \*'"):
        read_cron(expression, UTC)
