"""The archive of a live source: only what is missing is asked for, nothing that was learned is lost or stored twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from carrossel import files
from carrossel.bars.archive import Archive, Update
from carrossel.bars.archive.download import download_live
from carrossel.bars.archive.visit import MOST_IN_GAPS
from carrossel.bars.config import Dataset
from carrossel.bars.sources.base import COLUMNS, LiveSource, LiveSourceConfig, frame_of
from carrossel.bars.store import read_raw
from carrossel.errors import BarsError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

START = pd.Timestamp("2024-01-30", tz="UTC")  # two days before a month ends, so that hourly bars span partitions
HOUR = pd.Timedelta("1h")


def hours(count: float) -> pd.Timestamp:
    return START + count * HOUR


class Exchange(LiveSource):
    """Bars in memory; each test breaks one thing of it."""

    kind = "fake"

    def __init__(self, bars: int = 0, *, step: pd.Timedelta = HOUR, start: pd.Timestamp = START, page: int = 7) -> None:
        super().__init__(LiveSourceConfig(kind="fake", start=start.to_pydatetime()), Path())
        self.step, self.page = step, page
        self.closes = {START + i * step: 100.0 + i for i in range(bars)}
        self.hidden: set[pd.Timestamp] = set()
        self.broken: list[tuple[pd.Timestamp, pd.Timestamp]] = []
        self.asked: list[tuple[pd.Timestamp, pd.Timestamp]] = []
        self.pages_left: int | None = None
        self.name = "fake"
        self.oldest: pd.Timestamp | None = None

    def reach(self, now: pd.Timestamp) -> pd.Timestamp | None:
        return self.oldest

    def describe(self) -> dict[str, Any]:
        return {"kind": self.name, "start": str(self.config.start), "options": (1, 2)}

    def page_of(self, stamps: list[pd.Timestamp]) -> pd.DataFrame:
        close = np.array([self.closes[stamp] for stamp in stamps], float)
        prices = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": close * 2}
        return frame_of(pd.DatetimeIndex(stamps).tz_localize(None).to_numpy(), prices)

    def pages(self, start: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.DataFrame]:
        self.asked.append((start, end))
        stamps = sorted(stamp for stamp in self.closes if start <= stamp < end and stamp not in self.hidden)
        at = start
        while True:
            if any(at < until and since < end and since <= at for since, until in self.broken):
                raise SourceError(f"fake: HTTP 500 at {at:%d %H:%M}. Try later.")
            if self.pages_left is not None:
                if not self.pages_left:
                    raise SourceError("fake: connection reset. Try later.")
                self.pages_left -= 1
            part = [stamp for stamp in stamps if stamp >= at][: self.page]
            if not part:
                return
            yield self.page_of(part)
            at = part[-1] + self.step


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive", "1h", patience=0.1)


def closes(archive: Archive, since: pd.Timestamp | None = None) -> dict[pd.Timestamp, float]:
    frame = archive.read(since)
    return dict(zip(frame["timestamp"], frame["close"], strict=True))


def stored(archive: Archive) -> pd.DataFrame:
    """All rows of all partitions, as they lie on disk."""
    paths = sorted(archive.folder.glob("[0-9]*.parquet"))
    return pd.concat([pq.read_table(path).to_pandas() for path in paths], ignore_index=True)


def partitions(archive: Archive) -> list[str]:
    return sorted(path.stem for path in archive.folder.glob("*.parquet"))


def test_closed_bars_are_stored_by_month_and_the_open_one_is_not(archive: Archive) -> None:
    exchange = Exchange(60)

    update = archive.update(exchange, hours(50.5))

    assert (update.added, update.revised, update.dropped, update.failed) == (50, 0, 0, ())
    assert (update.first, update.last, archive.last) == (hours(0), hours(49), hours(49))
    assert partitions(archive) == ["2024-01", "2024-02"]
    assert closes(archive) == {hours(i): 100.0 + i for i in range(50)}
    assert tuple(archive.read().columns) == COLUMNS
    assert set(stored(archive)["known"]) == {hours(50.5)}


def test_bars_under_an_hour_are_stored_by_day(tmp_path: Path) -> None:
    exchange = Exchange(200, step=pd.Timedelta("15min"))
    archive = Archive(tmp_path, "15min")

    archive.update(exchange, hours(50))

    assert partitions(archive) == ["2024-01-30", "2024-01-31", "2024-02-01"]
    assert len(archive.read()) == 200


def test_the_next_update_asks_for_the_tail_and_the_newest_bars_again(archive: Archive) -> None:
    exchange = Exchange(60)
    archive.update(exchange, hours(10))

    update = archive.update(exchange, hours(12))

    assert exchange.asked == [(hours(0), hours(10)), (hours(7), hours(12))]
    assert (update.added, update.revised, update.first, update.last) == (2, 0, hours(10), hours(11))


def test_nothing_is_asked_for_before_the_next_bar_is_closed(archive: Archive) -> None:
    exchange = Exchange(60)
    archive.update(exchange, hours(10))

    update = archive.update(exchange, hours(10.9))

    assert exchange.asked == [(hours(0), hours(10))]
    assert update == Update()


def test_a_revision_is_one_more_row_and_reading_takes_it(archive: Archive) -> None:
    exchange = Exchange(60)
    archive.update(exchange, hours(10))
    exchange.closes[hours(8)] = 7.0

    updates = [archive.update(exchange, hours(11)), archive.update(exchange, hours(12))]

    assert [(update.added, update.revised) for update in updates] == [(1, 1), (1, 0)]
    assert updates[0].first == hours(8)
    rows = stored(archive).query("timestamp == @hours(8)")
    assert rows["close"].tolist() == [108.0, 7.0]
    assert rows["known"].tolist() == [hours(10), hours(11)]
    assert closes(archive)[hours(8)] == 7.0


def test_rows_without_numbers_are_stored_as_they_come_and_once(archive: Archive) -> None:
    exchange = Exchange(10)
    exchange.closes[hours(8)] = np.nan
    archive.update(exchange, hours(10))

    assert archive.update(exchange, hours(12)).revised == 0
    assert np.isnan(closes(archive)[hours(8)])


def test_unordered_repeated_future_and_foreign_rows_do_no_harm(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Exchange(60)
    pages = [[hours(2), hours(1), hours(2), hours(0)], [hours(2), hours(1)], [hours(4), hours(3), hours(50)]]
    exchange.closes[hours(-5)] = 1.0
    pages[0].append(hours(-5))
    monkeypatch.setattr(exchange, "pages", lambda start, end: iter([exchange.page_of(page) for page in pages]))

    update = archive.update(exchange, hours(5))

    assert (update.added, update.revised, update.dropped) == (5, 0, 2)
    assert stored(archive)["timestamp"].tolist() == [hours(i) for i in range(5)]


def test_pages_before_a_failure_are_kept_and_the_rest_is_asked_for_again(archive: Archive) -> None:
    exchange = Exchange(20)
    exchange.pages_left = 2

    failed = archive.update(exchange, hours(20))
    exchange.pages_left = None
    mended = archive.update(exchange, hours(20))

    assert (failed.added, failed.last) == (14, hours(13))
    assert failed.failed == ("2024-01-30 14:00 to 2024-01-30 20:00 UTC: fake: connection reset. Try later.",)
    assert exchange.asked[1] == (hours(11), hours(20))
    assert (mended.added, mended.failed) == (6, ())
    assert "connection reset" not in (archive.folder / "state.json").read_text()


def test_a_month_that_fails_is_skipped_and_asked_for_again_less_and_less_often(archive: Archive) -> None:
    exchange = Exchange(60)
    exchange.broken = [(hours(7), hours(9))]
    first = archive.update(exchange, hours(55))
    assert (first.added, len(first.failed)) == (14, 1)  # seven before the fault, seven of the next month

    asked = [archive.update(exchange, hours(55 + i)) for i in range(1, 8)]

    assert [len(update.failed) for update in asked] == [1, 0, 1, 0, 0, 0, 1]
    exchange.broken = []
    assert archive.update(exchange, hours(71)).added == 48 - 7
    assert set(closes(archive)) == set(exchange.closes)


def test_an_exchange_that_is_down_is_asked_twice_at_most_and_caught_up_with_later(archive: Archive) -> None:
    exchange = Exchange(100)
    archive.update(exchange, hours(10))
    exchange.broken = [(hours(0), hours(1000))]
    exchange.asked.clear()

    for hour in (11, 12, 60):
        update = archive.update(exchange, hours(hour))
        assert (update.added, update.last) == (0, None)
        assert len(update.failed) in (1, 2)
    assert len(exchange.asked) <= 4
    exchange.broken = []
    update = archive.update(exchange, hours(61))

    assert (update.added, update.failed, archive.last) == (51, (), hours(60))


def test_a_failure_with_nothing_stored_is_an_error_and_leaves_nothing(archive: Archive) -> None:
    exchange = Exchange(20)
    exchange.broken = [(hours(0), hours(1000))]

    with pytest.raises(SourceError, match="HTTP 500"):
        archive.update(exchange, hours(20))

    assert archive.last is None
    assert archive.read().empty
    exchange.broken = []
    assert archive.update(exchange, hours(20)).added == 20


def test_bars_that_a_source_no_longer_has_are_not_asked_for_and_that_is_told_once(archive: Archive) -> None:
    exchange = Exchange(100)
    exchange.oldest = hours(60)

    first = archive.update(exchange, hours(90))
    assert exchange.asked == [(hours(60), hours(90))]
    assert first.failed == ("bars before 2024-02-01 12:00 UTC can't be had from this source: asked from then on.",)
    assert (first.added, archive.read()["timestamp"].iloc[0]) == (30, hours(60))
    assert archive.update(exchange, hours(95)).failed == ()


def test_a_hole_is_asked_for_again_until_it_is_twice_as_old_each_time(archive: Archive) -> None:
    exchange = Exchange(800)
    exchange.hidden = {hours(3), hours(4)}
    archive.update(exchange, hours(10))
    exchange.asked.clear()

    for hour in range(11, 90):
        archive.update(exchange, hours(hour))

    again = [end_of_ask for start, end_of_ask in exchange.asked if start == hours(3)]
    assert len(again) == 4  # at ages of about 10, 20, 40 and 80 hours
    exchange.hidden = set()
    update = archive.update(exchange, hours(760))
    assert (update.first, closes(archive)[hours(4)]) == (hours(3), 104.0)
    assert '"gaps": {}' in (archive.folder / "state.json").read_text()


def test_old_holes_never_hold_up_the_newest_bar(tmp_path: Path) -> None:
    exchange = Exchange(6 * 1440, step=pd.Timedelta("1min"), page=1000)
    exchange.hidden = {START + i * exchange.step for i in range(0, 6 * 1440, 400) if i}
    archive = Archive(tmp_path, "1min")
    archive.update(exchange, hours(6 * 24))
    exchange.asked.clear()

    archive.update(exchange, hours(30 * 24))

    tail, *holes = exchange.asked
    assert tail[1] == hours(30 * 24)
    assert sum((end - start) / exchange.step for start, end in holes) <= MOST_IN_GAPS
    assert holes


def test_a_start_that_moves_back_asks_for_what_lies_before(archive: Archive) -> None:
    exchange = Exchange(40, start=hours(20))
    archive.update(exchange, hours(30))
    moved = Exchange(40)

    update = archive.update(moved, hours(31))
    archive.update(moved, hours(32))

    assert moved.asked == [(hours(27), hours(31)), (hours(0), hours(20)), (hours(28), hours(32))]
    assert (update.added, update.first) == (21, hours(0))


def test_a_clock_that_went_back_changes_nothing_and_is_told(archive: Archive) -> None:
    exchange = Exchange(40)
    archive.update(exchange, hours(30))
    before = {path: path.read_bytes() for path in archive.folder.iterdir()}
    exchange.asked.clear()

    update = archive.update(exchange, hours(5))

    assert exchange.asked == []
    assert len(update.failed) == 1
    assert "the clock says 2024-01-30 05:00 UTC" in update.failed[0]
    assert {path: path.read_bytes() for path in archive.folder.iterdir()} == before
    assert archive.update(exchange, hours(31)).added == 1


def test_a_clock_that_ran_ahead_for_a_while_stores_one_bar_too_early_and_mends_it(archive: Archive) -> None:
    exchange = Exchange(10)
    archive.update(exchange, hours(10))
    exchange.closes[hours(10)] = 5.0  # still open, but the clock says it is next year
    archive.update(exchange, hours(9000))
    exchange.closes |= {hours(10): 6.0, hours(11): 111.0}

    assert archive.update(exchange, hours(10.5)).failed != ()
    update = archive.update(exchange, hours(12))

    assert (update.added, update.revised, closes(archive)[hours(10)]) == (1, 1, 6.0)


def test_reading_since_opens_no_older_partition(archive: Archive) -> None:
    archive.update(Exchange(60), hours(60))
    (archive.folder / "2024-01.parquet").write_bytes(b"")

    assert list(closes(archive, hours(50))) == [hours(i) for i in range(50, 60)]
    with pytest.raises(BarsError, match="isn't a whole Parquet file"):
        archive.read(hours(47))


@pytest.mark.parametrize("month", ["2024-01", "2024-02"])
def test_a_truncated_partition_is_named_and_its_bars_come_back(archive: Archive, month: str) -> None:
    exchange = Exchange(60)
    archive.update(exchange, hours(55))
    path = archive.folder / f"{month}.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BarsError, match=rf"{month}.parquet isn't a whole Parquet file.*Delete it and run again"):
        archive.update(exchange, hours(60))

    path.unlink()
    archive.update(exchange, hours(60))

    assert closes(archive) == exchange.closes


def test_a_month_removed_from_the_middle_comes_back(archive: Archive) -> None:
    exchange = Exchange(1500, page=500)
    archive.update(exchange, hours(1400))
    (archive.folder / "2024-02.parquet").unlink()

    archive.update(exchange, hours(1500))

    assert closes(archive) == exchange.closes


def test_a_lost_or_broken_memory_costs_no_bar(archive: Archive) -> None:
    exchange = Exchange(60)
    exchange.hidden = {hours(20)}
    archive.update(exchange, hours(50))
    state = archive.folder / "state.json"
    state.write_text("{}")
    with pytest.raises(BarsError, match=r"state.json isn't what an archive remembers.*Delete it"):
        archive.update(exchange, hours(51))

    state.unlink()
    exchange.hidden = set()
    archive.update(exchange, hours(60))

    assert closes(archive) == exchange.closes


def test_another_source_or_interval_is_refused(archive: Archive) -> None:
    archive.update(Exchange(20), hours(20))
    other = Exchange(20)
    other.name = "other"

    with pytest.raises(BarsError, match=r'holds bars of 1h from .*"fake".* from .*"other".*Move the folder away'):
        archive.update(other, hours(21))
    with pytest.raises(BarsError, match="the dataset is 2h"):
        Archive(archive.folder, "2h").update(Exchange(20), hours(21))
    assert len(archive.read()) == 20


def test_two_writers_are_kept_apart(archive: Archive) -> None:
    archive.folder.mkdir()

    with FileLock(archive.folder / ".lock"), pytest.raises(BarsError, match="another process is writing"):
        archive.update(Exchange(20), hours(20))


def test_while_another_process_writes_a_download_takes_what_is_stored(archive: Archive, tmp_path: Path) -> None:
    dataset = Dataset.model_validate({"source": {"kind": "sample", "name": "bitcoin"}, "interval": "1h"})

    def download(now: float) -> tuple[str, ...]:
        return download_live(Exchange(40), archive.folder, tmp_path / "raw", dataset, hours(now), patience=0.1)

    archive.folder.mkdir()
    with FileLock(archive.folder / ".lock"), pytest.raises(BarsError, match="another process is writing"):
        download(20)
    download(20)
    with FileLock(archive.folder / ".lock"):
        said, counts = download(30)
    assert "another process is writing" in said
    assert said.endswith("What is stored is taken meanwhile.")
    assert counts == "0 new and 0 revised bars from fake, 20 in all"
    assert len(read_raw(tmp_path / "raw").frame) == 20


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 40)),
        st.tuples(st.just("revise"), st.integers(0, 2)),
        st.tuples(st.just("hide"), st.integers(0, 5)),
        st.tuples(st.just("show"), st.just(0)),
        st.tuples(st.just("break"), st.integers(0, 3)),
        st.tuples(st.just("down"), st.just(0)),
    ),
    max_size=12,
)


@given(actions=ACTIONS, page=st.integers(2, 9))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_whatever_fails_in_between_the_exchanges_bars_are_there_in_the_end(
    actions: list[tuple[str, int]], page: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    exchange, archive = Exchange(10, page=page), Archive(tmp_path_factory.mktemp("archive"), "1h")
    told: dict[pd.Timestamp, list[float]] = {}
    revised: set[pd.Timestamp] = set()
    hour, price = 10, 1000.0
    flush, files._flush = files._flush, lambda path: None  # what is written may stay in memory here
    try:
        for action, number in [*actions, ("show", 0), *[("wait", 2**i) for i in range(5, 11)]]:
            hour += number if action == "wait" else 0
            exchange.closes = {hours(i): 100.0 + i for i in range(min(hour, 100))} | exchange.closes
            exchange.pages_left = number if action == "break" else None
            exchange.broken = [(hours(-1), hours(10_000))] if action == "down" else []
            if action in ("hide", "show"):
                exchange.hidden = {hours(hour - 1 - number), hours(hour - 1)} if action == "hide" else set()
            if action == "revise" and (last := archive.last) is not None:
                price += 1
                exchange.closes[last - number * HOUR] = price
                revised.add(last - number * HOUR)
            exchange.hidden -= revised  # a revision that is never shown can't be known
            try:
                archive.update(exchange, hours(hour))
            except SourceError:
                assert archive.last is None
            for stamp, close in closes(archive).items():
                if told.setdefault(stamp, [close])[-1] != close:
                    told[stamp].append(close)
    finally:
        files._flush = flush

    assert closes(archive) == {stamp: close for stamp, close in exchange.closes.items() if stamp < hours(hour)}
    rows = stored(archive)
    assert rows.groupby("timestamp")["close"].apply(list).to_dict() == told


class Killed(BaseException):
    """The process ends here: nothing after it reaches the disk."""


def test_an_update_killed_at_any_moment_leaves_whole_partitions_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = {"flush": files._flush, "replace": Path.replace, "unlink": Path.unlink}
    counts: Counter[str] = Counter()

    def armed(name: str) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            counts["calls"] += 1
            if counts["calls"] > counts["limit"]:
                raise Killed
            return real[name](*arguments, **keywords)

        return call

    def arm(limit: int) -> None:
        counts.update(calls=-counts["calls"], limit=limit - counts["limit"])
        monkeypatch.setattr(files, "_flush", armed("flush"))
        monkeypatch.setattr(Path, "replace", armed("replace"))
        monkeypatch.setattr(Path, "unlink", armed("unlink"))

    for moment in range(200):
        exchange, archive = Exchange(70, page=20), Archive(tmp_path / str(moment), "1h")
        archive.update(exchange, hours(40))
        exchange.closes[hours(39)] = 7.0
        exchange.hidden = {hours(50)}
        arm(moment)
        try:
            archive.update(exchange, hours(70))
            break
        except Killed:
            monkeypatch.undo()
        assert len(archive.read()) >= 40  # whole files, and what was reported before is there
        exchange.hidden = set()
        archive.update(exchange, hours(100))
        archive.update(exchange, hours(150))

        assert closes(archive) == exchange.closes
        assert not stored(archive).duplicated(["timestamp", "close"]).any()
        assert not [path for path in archive.folder.iterdir() if path.name.startswith(".") and path.suffix]
    assert moment > 10


def test_kill_9_while_pages_come_loses_no_bar_that_was_reported(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_bars_archive import Archive, Exchange, hours
        archive, exchange = Archive(Path({str(tmp_path)!r}), "1h"), Exchange(2_000, page=2)
        for hour in range(10, 2_000, 7):
            archive.update(exchange, hours(hour))
            print(hour, flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        said = [int(process.stdout.readline()) for _ in range(9)]
        os.kill(process.pid, signal.SIGKILL)
    archive = Archive(tmp_path, "1h")

    found = list(closes(archive))

    assert len(found) >= said[-1]
    assert found == [hours(i) for i in range(len(found))]
    assert not stored(archive).duplicated(["timestamp"]).any()
    exchange = Exchange(2_000, page=2_000)
    archive.update(exchange, hours(2_000))
    assert closes(archive) == exchange.closes
