from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from watched import LOOKBACK, START, NoRetraining, make_dataset, make_loop, run, write_model

from carrossel.bars.archive import Archive
from carrossel.bars.config import Repair
from carrossel.bars.preparation import prepare
from carrossel.bars.sources.base import LiveSource, RawBars, open_source
from carrossel.errors import Busy, ConfigError, ModelError, SourceError, StoreError
from carrossel.evaluation.calibration import conformal_intervals
from carrossel.forecaster.stored import load
from carrossel.online.champion import Champion
from carrossel.online.config import Watch
from carrossel.online.locking import alone
from carrossel.online.watching import watch
from carrossel.online.watching.lines import as_line
from carrossel.online.watching.retraining import Retraining
from carrossel.online.watching.screen import Screen
from carrossel.online.watching.tail import Clockwork, Tail

BARS = 60
HOUR = pd.Timedelta("1h")


@pytest.fixture
def champion(tmp_path):
    return Champion("walk", "1", write_model(tmp_path / "model"), "version 1 (gru) is walk's champion")


@pytest.fixture(scope="module")
def calm_forecasts(tmp_path_factory):
    """What a carried state forecasts if nothing disturbs it."""
    root = tmp_path_factory.mktemp("calm")
    made = make_loop(
        root, Champion("walk", "1", write_model(root / "model"), "version 1"), watch=Watch(state="carried")
    )
    run(made, 7)
    return made.store.rows("walk")["forecast"].tolist()


def whole_series(dataset, root):
    bars = open_source(dataset.source.of, root, dataset.interval).fetch()
    return prepare(bars, dataset, Repair(), name="walk", now=pd.Timestamp("2026-01-01", tz="UTC")).bars


def test_each_bar_has_one_prediction_before_its_truth_and_one_score_after(tmp_path, champion):
    made = make_loop(tmp_path, champion)

    assert run(made, BARS) == BARS

    rows = made.store.rows("walk")
    assert list(rows["origin"]) == list(pd.date_range(START - HOUR, periods=BARS, freq="h", unit="ns"))
    assert (rows["time"] == rows["origin"] + HOUR).all()
    assert (rows["made_at"] < rows["time"] + HOUR).all()  # the bar forecast is open until then
    assert not rows["late"].any()
    assert rows["model"].eq("1").all()
    scored = rows.iloc[:-1]
    assert (scored["scored_at"] == scored["time"] + HOUR).all()
    assert rows["scored_at"].iloc[-1:].isna().all()
    truth = whole_series(make_dataset(), tmp_path).set_index("timestamp")["close"].loc[scored["time"]].to_numpy()
    np.testing.assert_allclose(scored["truth"], truth, rtol=1e-12)
    np.testing.assert_allclose(scored["squared_error"], (scored["forecast"] - truth) ** 2, rtol=1e-9)


def test_forecasts_are_those_of_the_whole_series(tmp_path, champion):
    made = make_loop(tmp_path, champion)
    run(made, 8)

    bars = whole_series(make_dataset(), tmp_path)
    expected = load(champion.folder).predict(bars).set_index("origin")["forecast"]
    rows = made.store.rows("walk")
    np.testing.assert_allclose(rows["forecast"], expected.loc[rows["origin"]], rtol=1e-6)  # float32


@pytest.mark.parametrize("state", ["window", "carried"])
def test_a_champion_that_reads_both_ways_answers_by_windows_and_else_says_why_not(tmp_path, state):
    folder = write_model(tmp_path / "model", bidirectional=True)
    made = make_loop(tmp_path, Champion("walk", "1", folder, "version 1"), watch=Watch(state=state))
    run(made, 8)

    rows = made.store.rows("walk")
    if state == "window":
        expected = load(folder).predict(whole_series(make_dataset(), tmp_path)).set_index("origin")["forecast"]
        np.testing.assert_allclose(rows["forecast"], expected.loc[rows["origin"]], rtol=1e-6)  # float32
    else:
        assert rows["model"].eq("persistence").all()
        assert rows["reason"].str.contains("Set online.watch.state to window").all()


@pytest.mark.parametrize("state", ["window", "carried"])
def test_a_restart_goes_on_as_if_nothing_had_been(tmp_path, champion, state):
    (tmp_path / "whole").mkdir()
    whole = make_loop(tmp_path / "whole", champion, watch=Watch(state=state))
    run(whole, 9)
    (tmp_path / "parts").mkdir()
    for bars in (1, 3, 5):
        parts = make_loop(tmp_path / "parts", champion, watch=Watch(state=state))
        run(parts, bars)

    pd.testing.assert_frame_equal(parts.store.rows("walk"), whole.store.rows("walk"), check_exact=True)


@pytest.mark.parametrize("after", ["nothing", "scores", "predictions", "state", "commit"])
def test_a_process_killed_within_a_bar_loses_nothing_and_doubles_nothing(
    tmp_path, champion, after, monkeypatch, calm_forecasts
):
    class Killed(BaseException):
        pass

    made = make_loop(tmp_path, champion, watch=Watch(state="carried"))
    run(made, 3)

    def die(*_arguments, **_keys):
        raise Killed

    if after == "commit":
        monkeypatch.setattr(made.loop, "_tell_bar", die)
    else:
        from carrossel.online.predictions import Writer

        names = ["scores", "predictions", "state"]
        stopped = names[0] if after == "nothing" else [*names, "state"][names.index(after) + 1]
        kept = getattr(Writer, stopped)
        count = {"left": 1 if after == "state" else 0}

        def write(self, *arguments):
            if count["left"] == 0:
                raise Killed
            count["left"] -= 1
            kept(self, *arguments)

        monkeypatch.setattr(Writer, stopped, write)
    with pytest.raises(Killed):
        run(made, 5)
    monkeypatch.undo()
    done = len(made.store.rows("walk"))
    assert done == 3 + (after == "commit")

    again = make_loop(tmp_path, champion, watch=Watch(state="carried"))
    run(again, 7 - done)

    rows = again.store.rows("walk")
    assert list(rows["origin"]) == list(pd.date_range(START - HOUR, periods=7, freq="h", unit="ns"))
    assert rows["truth"].notna().sum() == 6
    assert not rows["late"].any()
    assert rows["forecast"].tolist() == calm_forecasts[:7]


def test_after_down_time_all_bars_are_caught_up_and_those_whose_truth_was_known_are_late(tmp_path, champion):
    made = make_loop(tmp_path, champion)
    run(made, 5)
    source = made.loop.source
    for _ in range(7):  # the archive went on, as `download` lets it
        made.tail.archive.update(source, source.present(made.loop.clock(), made.tail.archive.last, HOUR))

    run(make_loop(tmp_path, champion), 8)

    rows = made.store.rows("walk")
    assert len(rows) == 13
    assert list(rows["late"]) == [False] * 5 + [True] * 6 + [False] * 2
    assert made.store.tally("walk", "1", 1).scored == 6


def test_without_a_champion_persistence_answers_and_says_why(tmp_path):
    made = make_loop(tmp_path)
    run(made, 3)

    rows = made.store.rows("walk")
    assert rows["model"].eq("persistence").all()
    assert (rows["forecast"] == rows["last_close"]).all()
    assert rows["reason"].eq("persistence serves: walk has no champion").all()


def test_a_new_champion_answers_from_the_very_next_bar(tmp_path, champion):
    made = make_loop(tmp_path)
    run(made, 3)
    made.serving.champion = champion
    run(made, 3)

    assert list(made.store.rows("walk")["model"]) == ["persistence"] * 3 + ["1"] * 3
    told = [event["reason"] for event in made.events if event["event"] == "champion"]
    assert told == ["persistence serves: walk has no champion", "version 1 (gru) is walk's champion"]


def test_a_registry_that_is_away_is_told_once(tmp_path, champion):
    made = make_loop(tmp_path, champion)
    away = replace(champion, reason=f"{champion.reason}; the registry's can't be had: no answer")
    made.loop.find_champion = lambda _present, asked: away if asked else champion
    run(made, 5)

    assert [event["reason"] for event in made.events if event["event"] == "champion"] == [away.reason]


def test_a_champion_that_cant_be_loaded_leaves_persistence(tmp_path, champion):
    (champion.folder / "model.safetensors").write_bytes(b"torn")
    made = make_loop(tmp_path, champion)
    run(made, 1)

    (row,) = made.store.rows("walk").to_dict("records")
    assert row["model"] == "persistence"
    assert "version 1 can't be used" in row["reason"]


class Holed(LiveSource):
    """A stored series with holes, whose clock goes a bar on with each look; it can be told to fail."""

    kind = "replay"

    def __init__(self, frame, config, holes=()):
        self.frame, self.config, self.holes, self.broken = frame, config, set(holes), False
        self.now = START - HOUR

    def first(self):
        return self.frame["timestamp"].iloc[0]

    def pages(self, start, end):
        if self.broken:
            raise SourceError("the exchange answers 503. Wait.")
        stamps = self.frame["timestamp"]
        yield self.frame[(stamps >= start) & (stamps < end) & ~stamps.isin(self.holes)]

    def describe(self):
        return {"kind": "holed"}

    def present(self, now, last, step):
        self.now += step
        return self.now


class Clocked(Holed):
    """A stored series that lives by the loop's clock, as an exchange does."""

    kind = "clocked"

    def present(self, now, last, step):
        return now


def make_holed(tmp_path, champion, holes, source=Holed, **keys):
    made = make_loop(tmp_path, champion, **keys)
    replay = made.loop.source
    made.loop.source = source(replay._series(), replay.config, holes)
    return made


def test_no_window_covers_a_missing_bar_and_a_missing_bar_gets_no_prediction(tmp_path, champion):
    holes = [START + n * HOUR for n in (1, 2, 3, 6)]  # the first are too many to fill
    made = make_holed(tmp_path, champion, holes)
    run(made, 13)

    rows = made.store.rows("walk").set_index("origin")
    assert not set(holes[:3]) & set(rows.index)
    assert rows.loc[START + 6 * HOUR, "late"]  # filled once the bar after it was there
    from_gap = rows.loc[START + 4 * HOUR : START + (4 + LOOKBACK - 1) * HOUR]
    assert from_gap["reason"].eq(f"persistence serves: no complete window of {LOOKBACK} bars").all()
    assert rows.loc[START + (4 + LOOKBACK) * HOUR, "model"] == "1"
    assert pd.isna(rows.loc[START, "truth"])  # its bar never came
    assert rows.drop(index=START)["truth"].iloc[:-1].notna().all()


def test_a_source_that_fails_is_one_line_and_what_it_missed_is_caught_up(tmp_path, champion, monkeypatch):
    made = make_holed(tmp_path, champion, ())
    run(made, 3)
    made.loop.source.broken = True
    looks = []

    def wait(seconds):
        looks.append(seconds)
        if len(looks) == 4:
            made.loop.source.broken = False

    monkeypatch.setattr(made.stop, "wait", wait)
    run(made, 6)

    rows = made.store.rows("walk")
    assert list(rows["origin"]) == list(pd.date_range(START - HOUR, periods=9, freq="h", unit="ns"))
    assert looks[:4] == [5, 10, 20, 40]
    troubles = [event for event in made.events if event["event"] == "trouble"]
    assert len(troubles) == 1
    assert "503" in troubles[0]["reason"]
    assert sum(event["event"] == "recovered" for event in made.events) == 1


def test_a_store_that_refuses_is_tried_again_and_loses_nothing(tmp_path, champion, monkeypatch, calm_forecasts):
    made = make_loop(tmp_path, champion, watch=Watch(state="carried"))
    run(made, 3)
    writing, failures = made.store.writing, iter([True, True])

    def refuse():
        if next(failures, False):
            raise StoreError("sqlite refuses: database or disk is full. Nothing of this bar was stored.")
        return writing()

    monkeypatch.setattr(made.store, "writing", refuse)
    monkeypatch.setattr(made.stop, "wait", lambda _seconds: None)
    run(made, 4)

    assert made.store.rows("walk")["forecast"].tolist() == calm_forecasts[:7]


def test_several_horizons_are_each_predicted_and_scored_once(tmp_path):
    folder = write_model(tmp_path / "model", horizon=(1, 3))
    made = make_loop(tmp_path, Champion("walk", "1", folder, "version 1"))
    run(made, 10)

    rows = made.store.rows("walk")
    assert len(rows) == 20
    assert rows.groupby("horizon")["truth"].count().to_dict() == {1: 9, 3: 7}


def test_a_bar_that_comes_long_after_others_were_scored_is_answered_at_every_horizon(tmp_path, monkeypatch):
    monkeypatch.setattr("carrossel.online.watching.intervals.FEWEST", 2)
    folder = write_model(tmp_path / "model", horizon=(1, 5))
    holes = [START + n * HOUR for n in range(7, 14)]
    made = make_holed(tmp_path, Champion("walk", "1", folder, "version 1"), holes)
    run(made, 10)
    made.loop.source.holes.remove(holes[3])  # answers what was forecast five bars before it
    run(made, 12)
    made.loop.source.holes.clear()  # and only then come those before it
    run(made, 25)

    rows = made.store.rows("walk").set_index(["origin", "horizon"])
    assert set(holes) <= set(rows.index.get_level_values("origin"))
    assert rows.loc[(holes[0] - 2 * HOUR, 5), "scored_at"] < rows.loc[(holes[0] - 5 * HOUR, 5), "scored_at"]
    assert rows.loc[(holes[0], 5), ["lower", "upper"]].notna().all()


def test_a_bar_whose_interval_cant_be_found_is_forecast_without(tmp_path, champion, monkeypatch):
    def fail(*_arguments, **_keys):
        raise ModelError("rows aren't in time order.")

    monkeypatch.setattr("carrossel.online.watching.intervals.FEWEST", 2)
    monkeypatch.setattr("carrossel.online.watching.intervals.conformal_intervals", fail)
    made = make_loop(tmp_path, champion)

    assert run(made, 6) == 6
    rows = made.store.rows("walk")
    assert rows["model"].eq("1").all()
    assert list(rows["lower"].isna()) == list(rows["upper"].isna()) == [False] * 2 + [True] * 4


def test_a_forecast_is_late_by_the_time_it_is_written_not_by_that_of_the_look(tmp_path, champion):
    times = {"now": START}

    class Slow(Clocked):
        def pages(self, start, end):
            times["now"] = START + pd.Timedelta("90min")
            return super().pages(start, end)

    made = make_holed(tmp_path, champion, (), Slow)
    made.loop.clock = lambda: times["now"]
    run(made, 1)

    (row,) = made.store.rows("walk").to_dict("records")
    assert row["origin"] == START - HOUR  # the newest bar that had closed when the exchange was asked
    assert row["made_at"] == START + pd.Timedelta("90min")
    assert row["late"]  # its truth was there half an hour before


@pytest.mark.parametrize(("target", "head"), [("direction", "probability"), ("volatility", "quantiles")])
def test_other_targets_are_scored_in_their_own_unit(tmp_path, target, head):
    folder = write_model(tmp_path / "model", target=target, head=head)
    made = make_loop(tmp_path, Champion("walk", "1", folder, "version 1"), target=target)
    run(made, 4)

    rows = made.store.rows("walk").iloc[:-1]
    if target == "direction":
        assert set(rows["truth"]) <= {0.0, 1.0}
        assert rows["unchanged"].eq(0.5).all()
        assert rows["lower"].isna().all()
    else:
        assert (rows["lower"] <= rows["forecast"]).all()
        assert (rows["truth"] < 0).all()  # the logarithm of a variance


def test_intervals_start_from_the_manifest_and_go_on_with_the_errors_made(tmp_path, champion, monkeypatch):
    monkeypatch.setattr("carrossel.online.watching.intervals.FEWEST", 12)
    made = make_loop(tmp_path, champion)
    run(made, 16)

    rows = made.store.rows("walk")
    half = ((rows["upper"] - rows["forecast"]) / rows["last_close"]).to_numpy()
    np.testing.assert_allclose(half[:12], 0.02)  # the twelfth is scored with the thirteenth
    assert (half[12:] != half[0]).all()
    scored = rows.iloc[:-1]
    past = scored.iloc[:13][["origin", "time", "truth", "forecast"]]
    expected = conformal_intervals(pd.concat([past, rows.iloc[13:14][past.columns].assign(truth=0.0)]))["upper"].iloc[
        -1
    ]
    assert rows["upper"].iloc[13] == pytest.approx(expected)
    assert (scored["covered"].astype(bool) == scored["truth"].between(scored["lower"], scored["upper"])).all()


def test_a_retraining_is_started_once_when_due_and_its_end_is_one_line(tmp_path):
    retraining = NoRetraining()
    made = make_loop(tmp_path, watch=Watch(retrain_every=4), retraining=retraining)
    run(made, 10)
    assert retraining.started == 1  # it still runs
    retraining.ended = (0, "walk: the challenger wasn't promoted")
    run(made, 1)
    run(made, 4)

    told = [(event["state"], event["reason"]) for event in made.events if event["event"] == "retrain"]
    assert told[:2] == [("started", "4 bars have passed"), ("done", "walk: the challenger wasn't promoted")]
    assert retraining.started == 2


def test_a_retraining_that_failed_is_tried_again_after_some_bars_of_a_replay(tmp_path):
    retraining = NoRetraining()
    made = make_loop(tmp_path, watch=Watch(retrain_every=4), retraining=retraining)
    run(made, 4)
    retraining.ended = (1, "the disk is full.")
    run(made, 9)
    assert retraining.started == 1
    run(made, 1)
    assert retraining.started == 2
    assert retraining.reason == "4 bars have passed"
    retraining.ended = (0, "walk: done")
    run(made, 2)

    told = [(event["state"], event["reason"]) for event in made.events if event["event"] == "retrain"]
    assert told[1] == ("failed", "the disk is full; it is tried again after 10 bars")
    assert [state for state, _ in told] == ["started", "failed", "started", "done"]


def test_a_retraining_that_fails_at_an_exchange_is_tried_again_by_the_clock_later_each_time(tmp_path, monkeypatch):
    class Failing(NoRetraining):
        def start(self, reason):
            super().start(reason)
            self.ended = (1, "the registry is away")

    times, told = {"now": START}, []
    made = make_holed(tmp_path, None, (), Clocked, watch=Watch(retrain_every=2), retraining=Failing())
    made.loop.clock = lambda: times["now"]
    made.loop.tell = lambda event: told.append((times["now"], event)) if event["event"] == "retrain" else None

    def wait(seconds):
        times["now"] += pd.Timedelta(seconds, "s")

    monkeypatch.setattr(made.stop, "wait", wait)
    run(made, 40)

    assert {event["state"] for _, event in told} == {"started", "failed"}
    pauses = [
        (again - failed).total_seconds() / 60 for (failed, _), (again, _) in zip(told[1::2], told[2::2], strict=False)
    ]
    assert pauses[:8] == pytest.approx([10, 20, 40, 80, 160, 320, 360, 360], abs=1e-3)


def test_drift_while_a_retraining_runs_makes_another_one_due_after_it(tmp_path, champion, monkeypatch):
    class Alarming:
        def __init__(self, _config, _features):
            self.fed = 0

        def update(self, _loss, _inputs):
            self.fed += 1
            return {3: ["loss"], 6: ["log_return"]}.get(self.fed, [])

    monkeypatch.setattr("carrossel.online.drift.DriftMonitor", Alarming)
    retraining = NoRetraining()
    made = make_loop(tmp_path, champion, retraining=retraining)
    run(made, 9)
    assert (retraining.started, retraining.reason) == (1, "drift of loss")
    retraining.ended = (0, "walk: done")
    run(made, 2)

    assert (retraining.started, retraining.reason) == (2, "drift of log_return")
    retraining.ended = (0, "walk: done")
    run(made, 2)
    assert retraining.started == 2


def test_a_retraining_that_was_due_when_the_process_died_is_started_again(tmp_path):
    run(make_loop(tmp_path, watch=Watch(retrain_every=4)), 4)
    again = NoRetraining()
    run(make_loop(tmp_path, watch=Watch(retrain_every=4), retraining=again), 1)

    assert again.started == 1


def test_a_drift_of_the_loss_makes_a_retraining_due(tmp_path, champion, monkeypatch):
    fed = []

    class Alarming:
        def __init__(self, _config, features):
            assert features == ("log_return", "log_range")

        def update(self, loss, inputs):
            fed.append((loss, inputs))
            return ["loss"] if len(fed) == 5 else []

    monkeypatch.setattr("carrossel.online.drift.DriftMonitor", Alarming)
    retraining = NoRetraining()
    made = make_loop(tmp_path, champion, retraining=retraining)
    run(made, 8)
    assert retraining.started == 1
    assert [event["streams"] for event in made.events if event["event"] == "drift"] == [["loss"]]

    before = list(fed)
    fed.clear()
    run(make_loop(tmp_path, champion), 1)
    assert fed[: len(before)] == before  # rebuilt from what was stored


def test_a_child_process_tells_its_status_and_last_line(tmp_path):
    script = tmp_path / "told.py"
    script.write_text("import sys; print('working'); print(sys.argv[1:]); raise SystemExit(3)")
    retraining = Retraining(tmp_path, "walk", ["told"])
    retraining.start("drift of loss")
    retraining.start("4 bars have passed")

    assert retraining.running
    assert retraining.poll(None) == (3, "['--actor', 'carrossel watch: drift of loss']")
    assert retraining.poll() is None


def test_a_replay_ends_with_its_series(tmp_path):
    made = make_loop(tmp_path, dataset=make_dataset(length=103))

    assert made.loop.run(made.stop) == 4  # the newest bar of the past, and three that came
    assert made.events[-1]["reason"] == "the replay is over"


def test_bars_of_the_tail_are_those_of_the_whole_series(tmp_path):
    dataset = make_dataset(length=6000, resample="4h", target={})
    raw = open_source(dataset.source.of, tmp_path, "1h").fetch().frame
    rng = np.random.default_rng(3)
    raw = raw.drop(index=rng.choice(np.arange(1, 5999), 400, replace=False)).reset_index(drop=True)
    raw.loc[5500, ["open", "high", "low", "close"]] *= 7.0  # a bad print
    archive = Archive(tmp_path / "archive", "1h")
    source = Holed(raw, dataset.source)
    present = raw["timestamp"].iloc[-1] + HOUR
    archive.update(source, START)
    archive.update(source, present)
    whole = prepare(RawBars(archive.read(), {}), dataset, Repair(), name="walk", now=present).bars

    tail = Tail(archive, dataset, Repair(), "walk")
    found = tail.read(whole["timestamp"].iloc[-1], 20, present)

    assert 20 < len(found) < len(whole)
    pd.testing.assert_frame_equal(found, whole.iloc[-len(found) :].reset_index(drop=True), check_exact=True)


@pytest.mark.parametrize("price", ["last", "mean"])
def test_a_resampled_bar_whose_last_source_bars_never_came_is_closed_in_time(tmp_path, price):
    dataset = make_dataset(length=6000, resample="4h", price=price)
    raw = open_source(dataset.source.of, tmp_path, "1h").fetch().frame.drop(index=[302, 303])  # of the bar 300 … 303
    end = raw["timestamp"].iloc[0] + 304 * HOUR
    archive = Archive(tmp_path / "archive", "1h")
    archive.update(Holed(raw, dataset.source), end)
    whole = prepare(RawBars(raw, {}), dataset, Repair(), name="walk", now=raw["timestamp"].iloc[-1] + HOUR).bars
    tail = Tail(archive, dataset, Repair(), "walk")

    found = tail.read(end - 4 * HOUR, 20, end)
    waiting = tail.read(end - 4 * HOUR, 20, end, settled=end - HOUR)

    assert found["timestamp"].iloc[-1] == end - 4 * HOUR
    pd.testing.assert_frame_equal(found.iloc[1:], whole.iloc[1:76], check_exact=True)
    assert waiting["timestamp"].iloc[-1] == end - 8 * HOUR


def test_a_tail_reaches_over_a_long_gap(tmp_path):
    dataset = make_dataset(length=3000)
    raw = open_source(dataset.source.of, tmp_path, "1h").fetch().frame
    raw = raw.drop(index=range(1000, 2990)).reset_index(drop=True)
    archive = Archive(tmp_path / "archive", "1h")
    present = raw["timestamp"].iloc[-1] + HOUR
    archive.update(Holed(raw, dataset.source), present)

    found = Tail(archive, dataset, Repair(), "walk").read(raw["timestamp"].iloc[-1], 20, present)

    assert (found["status"] == "observed").sum() > 200


def test_an_exchange_s_bars_end_with_its_sessions():
    clockwork = Clockwork(make_dataset(interval="1d", calendar="XNYS"))
    friday = pd.Timestamp("2019-07-05T00:00Z")

    assert clockwork.ahead(friday, 1) == pd.Timestamp("2019-07-08T00:00Z")
    assert clockwork.close(friday) == pd.Timestamp("2019-07-05T20:00Z")
    assert clockwork.newest_closed(pd.Timestamp("2019-07-05T19:59Z")) == pd.Timestamp("2019-07-03T00:00Z")
    assert clockwork.next_close(pd.Timestamp("2019-07-05T20:00Z")) == pd.Timestamp("2019-07-08T20:00Z")


def test_a_dataset_that_isnt_live_is_told_how_to_become_it(project):
    with pytest.raises(ConfigError, match=r"source: \{kind: replay, of: \{kind: sample, name: bitcoin\}, start: "):
        watch("bitcoin", project)


def test_only_one_process_watches_a_dataset(project):
    with alone(project, "watch@bitcoin", now=pd.Timestamp("2020-01-01", tz="UTC")), pytest.raises(Busy):
        watch("bitcoin", project)


def _play(project):
    params = (
        (project / "params.yaml")
        .read_text()
        .replace(
            "datasets:",
            f"datasets:\n  walk: {json.dumps(json.loads(make_dataset(length=110).model_dump_json(exclude_defaults=True)))}",
            1,
        )
    )
    (project / "params.yaml").write_text(params)


def test_the_command_tells_json_for_machines(project, monkeypatch, capsys):
    _play(project)
    monkeypatch.setattr("carrossel.online.watching.command.find_champion", _nobody)
    monkeypatch.setattr("carrossel.online.watching.command.local_champion", _nobody)

    assert watch(None, project, bars=3, json=True) == 3

    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["event"] for event in events} == {"champion", "bar", "prediction", "score", "end"}
    assert sum(event["event"] == "prediction" for event in events) == 3


def test_the_command_tells_lines_where_there_is_no_terminal(project, monkeypatch, capsys):
    _play(project)
    monkeypatch.setattr("carrossel.online.watching.command.find_champion", _nobody)
    monkeypatch.setattr("carrossel.online.watching.command.local_champion", _nobody)

    assert watch("walk", project, once=True) == 1
    assert watch("walk", project, once=True) == 1

    out = capsys.readouterr().out
    assert "walk: 2020-01-05 04:00 closed at" in out
    assert "n = 1" in out


def _nobody(dataset, root, *, expires, now):
    return Champion(dataset, None, None, f"persistence serves: {dataset} has no champion")


def test_the_screen_shows_bars_forecasts_and_who_serves(tmp_path, champion):
    made = make_loop(tmp_path, champion)
    console = Console(file=io.StringIO(), width=120)
    screen = Screen(console)
    made.loop.tell = screen.tell
    run(made, 4)
    screen.tell({"event": "drift", "dataset": "walk", "time": "2020-01-05T04:00:00+00:00", "streams": ["loss"]})

    console.print(screen.render())

    shown = console.file.getvalue()
    for text in (
        "2020-01-05 06:00",
        "2020-01-05 07:00",
        "n = 3",
        "version 1 (gru) is walk's champion",
        "loss at 2020",
    ):
        assert text in shown


def test_a_late_exchange_and_a_sleeping_loop(tmp_path):
    made = make_loop(tmp_path)
    run(made, 1)
    made.loop.source.kind = "bitstamp"
    from carrossel.online.watching.loop import Look

    look = Look(START + pd.Timedelta("20min"))
    assert [made.loop._pause(look, 0, behind) for behind in (0, 1, 2, 9)] == [40 * 60 + 5.0, 10.0, 20.0, 300.0]
    assert made.loop._pause(Look(START + pd.Timedelta("59min")), 0, 9) == 65.0
    assert made.loop._pause(None, 30, 0) == 300.0


def test_lines_say_what_people_need():
    event = {"event": "trouble", "dataset": "walk", "reason": "the exchange answers 503. Wait."}
    assert as_line(event) == "walk: the exchange answers 503. Wait. It is tried again."
    assert as_line({"event": "something else", "dataset": "walk"}) is None
