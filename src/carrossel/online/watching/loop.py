"""The loop itself: one look at the source, then bar by bar: score, drift, predict, commit."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from carrossel.bars.interval import nanoseconds
from carrossel.bars.status import MISSING, STATUSES
from carrossel.errors import BarsError, SeriesTooShort, SourceError, StoreError, TrackingError
from carrossel.online.predictions import PERSISTENCE, Tally, as_plain
from carrossel.online.watching.answers import STATE, Answers
from carrossel.online.watching.scoring import score

if TYPE_CHECKING:
    from collections.abc import Callable

    from carrossel.bars.archive import Archive
    from carrossel.bars.sources.base import LiveSource
    from carrossel.online.champion import Champion
    from carrossel.online.config import Drift, Watch
    from carrossel.online.drift import DriftMonitor
    from carrossel.online.predictions import PredictionStore, Score
    from carrossel.online.watching.retraining import Retraining
    from carrossel.online.watching.tail import Tail

Event = dict[str, Any]

PASSING = (SourceError, BarsError, SeriesTooShort, StoreError, TrackingError, OSError)
"""What may be over by the next look: a dead exchange, a database that restarts, a full disk."""

_PROGRESS = "progress"
_REPLAY = "replay"
_LONGEST_PAUSE = 300.0
_RETRY_SECONDS, _LONGEST_RETRY = 600.0, 6 * 3600.0
_RETRY_BARS = 10
_RECENTLY = 500


class Stop(Protocol):
    """Asks the loop to end: `threading.Event`."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float) -> bool: ...


@dataclass
class Progress:
    """What the loop has to know after a restart besides predictions and scores.

    Attributes:
        handled: bars so far.
        retrained: that number when a retraining was started last.
        due: why a retraining is due; until it has ended well, so that it isn't lost with a process.
        afterwards: why another one is due once the one that runs, which doesn't see these bars, has ended.
    """

    handled: int = 0
    retrained: int = 0
    due: str | None = None
    afterwards: str | None = None

    def dump(self) -> bytes:
        """As bytes for the store."""
        return json.dumps(vars(self)).encode()


@dataclass
class Look:
    """What came of one look.

    Attributes:
        added: raw bars that are new.
        handled: canonical bars that were.
        newest: stamp of the newest canonical bar.
    """

    present: pd.Timestamp
    added: int = 0
    handled: int = 0
    failed: tuple[str, ...] = ()
    newest: pd.Timestamp | None = None


@dataclass
class Loop:
    """One dataset's loop; whoever makes it holds the dataset's lock.

    Args:
        find_champion: asks for the champion at the source's present; told whether to ask the registry or the local copy alone.
        tell: gets each event.
        clock: gives the time.
        registry_seconds: between two questions to the registry.
    """

    dataset: str
    source: LiveSource
    archive: Archive
    tail: Tail
    answers: Answers
    store: PredictionStore
    retraining: Retraining
    find_champion: Callable[[pd.Timestamp, bool], Champion]
    tell: Callable[[Event], None]
    watch: Watch
    drift: Drift
    clock: Callable[[], pd.Timestamp]
    registry_seconds: float = 60.0

    tally: Tally = field(default_factory=Tally, init=False)
    progress: Progress = field(default_factory=Progress, init=False)
    _monitor: DriftMonitor | None = field(default=None, init=False)
    _recalled: bool = field(default=False, init=False)
    _asked: pd.Timestamp | None = field(default=None, init=False)
    _interrupted: bool = field(default=True, init=False)
    _told: set[str] = field(default_factory=set, init=False)
    _speechless: set[pd.Timestamp] = field(default_factory=set, init=False)
    _failures: int = field(default=0, init=False)
    _failed_at: tuple[pd.Timestamp, int] | None = field(default=None, init=False)

    def run(self, stop: Stop, *, bars: int | None = None, once: bool = False) -> int:
        """Look again and again until asked to stop, after so many bars, after one look, or when a replay is over.

        Args:
            bars: to handle at most.
            once: look once, and pass on what would otherwise be tried again.

        Returns:
            Bars handled.
        """
        handled = troubles = behind = 0
        before: pd.Timestamp | None = None
        while not stop.is_set():
            look: Look | None = None
            try:
                look = self.look(stop, None if bars is None else bars - handled)
            except PASSING as error:
                if once:
                    raise
                self._say_trouble((" ".join(str(error).split()) or type(error).__name__,))
                self._recalled = False
                self.answers.forget()
            troubles = troubles + 1 if look is None or look.failed else 0
            self._interrupted = look is None
            if look is not None:
                handled += look.handled
                if self._replays and before == look.present and not (look.added or look.handled):
                    self.tell(self._event("end", reason="the replay is over"))
                    break
                before = look.present
                closed = self.tail.clockwork.newest_closed(look.present)
                behind = behind + 1 if look.newest is None or look.newest < closed else 0
            if once or (bars is not None and handled >= bars):
                break
            stop.wait(self._pause(look, troubles, behind))
        return handled

    def look(self, stop: Stop, most: int | None = None) -> Look:
        """Fetch what is new and handle it, oldest bar first.

        Args:
            most: bars to handle.
        """
        present = self._present()
        update = self.archive.update(self.source, present)
        self._say_trouble(update.failed)
        look = Look(present, added=update.added, failed=update.failed)
        self._follow_champion(present)
        self._recall()
        self._end_retraining()
        newest = self.archive.last
        if newest is None:
            return look
        newest = min(newest, self.tail.clockwork.newest_closed(present))
        while self._handle_new(newest, look, stop, most):
            pass  # another champion may need more bars
        self._retrain_if_due()
        return look

    def _handle_new(self, newest: pd.Timestamp, look: Look, stop: Stop, most: int | None) -> bool:
        """Bars that are new, oldest first; True if they weren't all handled since the champion changed."""
        span = self.store.span(self.dataset)
        first = newest if span is None else min(span[1], newest)
        try:
            bars = self.tail.read(
                first, self.answers.needed + self.answers.horizons[-1], look.present, self._settled(look.present)
            )
        except SeriesTooShort:
            return False  # the second bar will come
        rows = self._unanswered(bars, span)
        look.newest = bars["timestamp"].iloc[-1]
        if rows:
            self.answers.look(bars)
        for row in rows:
            if stop.is_set() or look.handled == most:
                return False
            look.handled += self._handle(bars, row, look.present)
            if self._follow_champion(look.present, ask=False):
                return True
        return False

    def _unanswered(self, bars: pd.DataFrame, span: tuple[pd.Timestamp, pd.Timestamp] | None) -> list[int]:
        """Rows of the bars to handle: at the very first start the newest alone; else those since, and those that came late."""
        stamps = bars["timestamp"]
        there = (bars["status"] != STATUSES[MISSING]).to_numpy()
        if span is None:
            return [int(there.nonzero()[0][-1])]
        done = self.store.origins(self.dataset, stamps.iloc[0]) | self._speechless
        first = span[0]
        return [row for row, stamp in enumerate(stamps) if there[row] and stamp >= first and stamp not in done]

    def _handle(self, bars: pd.DataFrame, row: int, present: pd.Timestamp) -> int:
        """One bar, one transaction.

        Args:
            present: the look's, by which the bars are closed.
        """
        self._recall()
        bar = bars.iloc[row]
        present = self._by_now(present)
        pending = self.store.pending(self.dataset, bars["timestamp"].iloc[0], bar["timestamp"])
        scores = score(pending, bars, row, present)
        made = {(each.origin, each.horizon): each for each in pending}
        alarms, tally = [], self.tally
        for each in scores:
            of = made[each.origin, each.horizon]
            if each.horizon != self.answers.horizons[0] or of.model != self.answers.model:
                continue
            if not of.late:
                tally = tally.add(each)
            if self._monitor is not None and each.loss is not None and of.inputs is not None:
                alarms += self._monitor.update(each.loss, of.inputs)
        answer = self.answers.answer(row, present, [(made[each.origin, each.horizon], each) for each in scores])
        if not answer.predictions and not scores:
            self._speechless.add(bar["timestamp"])
            return 0
        progress = self._progressed(alarms)
        with self.store.writing() as writer:
            writer.scores(scores)
            writer.predictions(answer.predictions)
            writer.state(self.dataset, _PROGRESS, progress.dump())
            if answer.state is not None:
                writer.state(self.dataset, STATE, answer.state)
        if not answer.predictions:
            self._speechless.add(bar["timestamp"])
        self.progress, self.tally = progress, tally
        self._tell_bar(bar, scores)
        if alarms:
            self.tell(self._event("drift", time=bar["timestamp"].isoformat(), streams=alarms))
        for prediction in answer.predictions:
            self.tell(self._event("prediction", **as_plain(prediction)))
        return 1

    def _tell_bar(self, bar: pd.Series, scores: list[Score]) -> None:
        numbers = {name: float(bar[name]) for name in ("open", "high", "low", "close", "volume")}
        known = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        self.tell(self._event("bar", time=bar["timestamp"].isoformat(), status=str(bar["status"]), **known))
        for each in scores:
            running = {"n": self.tally.scored, "skill": self.tally.skill, "coverage": self.tally.coverage}
            self.tell(self._event("score", **as_plain(each), running=running))

    def _follow_champion(self, present: pd.Timestamp, *, ask: bool = True) -> bool:
        """Whether another model answers from now on."""
        now = self.clock()
        due = self._asked is None or not pd.Timedelta(0) <= now - self._asked < pd.Timedelta(self.registry_seconds, "s")
        if ask and due:
            self._asked = now
        asked = ask and due
        champion = self.find_champion(present, asked)
        before = self.answers.champion
        # The local copy alone doesn't know that the registry is away: its reason is no news beside the registry's own.
        if not asked and before and (before.version, before.folder) == (champion.version, champion.folder):
            return False
        model = self.answers.model if before is not None else None
        if not self.answers.follow(champion):
            return False
        self.tell(
            self._event("champion", version=champion.version, model=self.answers.model, reason=self.answers.reason)
        )
        changed = model != self.answers.model
        self._recalled = self._recalled and not changed
        return changed

    def _recall(self) -> None:
        """Rebuild from the store what is kept in memory: after a start, a change of champion, or a commit that failed."""
        if self._recalled:
            return
        model, horizon = self.answers.model, self.answers.horizons[0]
        stored = self.store.state(self.dataset, _PROGRESS)
        self.progress = Progress(**json.loads(stored)) if stored else Progress()
        self.tally = self.store.tally(self.dataset, model, horizon)
        self._monitor = None
        if model != PERSISTENCE:
            from carrossel.online.drift import DriftMonitor

            self._monitor = DriftMonitor(self.drift, self.answers.features)
            for loss, inputs in self.store.losses(self.dataset, model, horizon):
                self._monitor.update(loss, inputs)
        self._recalled = True

    def _progressed(self, alarms: list[str]) -> Progress:
        """What will be after one more bar."""
        progress = replace(self.progress, handled=self.progress.handled + 1)
        why = self._why_due(progress, alarms)
        if self.retraining.running:
            progress.afterwards = progress.afterwards or why
        else:
            progress.due = progress.due or why
        return progress

    def _why_due(self, progress: Progress, alarms: list[str]) -> str | None:
        if alarms and self.watch.retrain_on_drift:
            return f"drift of {', '.join(alarms)}"
        every = self.watch.retrain_every
        if every is not None and progress.handled - progress.retrained >= every:
            return f"{every} bars have passed"
        return None

    def _retrain_if_due(self) -> None:
        due = self.progress.due
        if due is None or self.retraining.running or not self._recalled or self._until_retry() > 0:
            return
        self._write(replace(self.progress, retrained=self.progress.handled, afterwards=None))
        self.retraining.start(due)
        self.tell(self._event("retrain", state="started", reason=due))

    def _end_retraining(self, wait: float | None = 0.0) -> None:
        ended = self.retraining.poll(wait)
        if ended is None:
            return
        status, line = ended
        self._asked = None  # there may be another champion
        if status != 0:
            self._failures, self._failed_at = self._failures + 1, (self.clock(), self.progress.handled)
            again = f"after {_RETRY_BARS} bars" if self._replays else f"in {self._until_retry() / 60:.0f} minutes"
            why = f"{line.rstrip('.')}; it is tried again {again}"
            self.tell(self._event("retrain", state="failed", status=status, reason=why))
            return
        self._failures = 0
        self.tell(self._event("retrain", state="done", status=status, reason=line))
        self._recall()
        self._write(replace(self.progress, due=self.progress.afterwards, afterwards=None))

    def _until_retry(self) -> float:
        """Seconds, or bars of a replay, until a retraining that failed may be tried again; none left if none has."""
        if not self._failures or self._failed_at is None:
            return 0.0
        time, handled = self._failed_at
        if self._replays:
            return float(_RETRY_BARS - (self.progress.handled - handled))
        wait = min(_RETRY_SECONDS * 2.0 ** min(self._failures - 1, 20), _LONGEST_RETRY)
        passed = (self.clock() - time).total_seconds()
        return wait - passed if passed >= 0 else 0.0  # a clock that was turned back says nothing

    def _write(self, progress: Progress) -> None:
        with self.store.writing() as writer:
            writer.state(self.dataset, _PROGRESS, progress.dump())
        self.progress = progress

    def finish(self, *, wait: bool) -> None:
        """Wait for a retraining that runs, or end it: it comes again with the next start."""
        if wait:
            self._end_retraining(None)
        elif self.retraining.running:
            self.retraining.stop()
            self.tell(self._event("retrain", state="stopped", reason="it starts again with the next watch"))

    def _say_trouble(self, sentences: tuple[str, ...]) -> None:
        """Each trouble once, not at every try, whatever times and counts it names by then; and its end."""
        kinds = {re.sub(r"\d+", "0", sentence): sentence for sentence in sentences}
        for kind, sentence in kinds.items():
            if kind not in self._told:
                self.tell(self._event("trouble", reason=sentence))
        if self._told and not sentences:
            self.tell(self._event("recovered", reason="everything answers again"))
        self._told = set(kinds)

    @property
    def _replays(self) -> bool:
        return self.source.kind == _REPLAY

    def _present(self) -> pd.Timestamp:
        last, clockwork = self.archive.last, self.tail.clockwork
        if self._interrupted and self._replays and last is not None and not self._speed:
            # A replay goes on with each look: bars that came with a look that didn't end are handled first, as of then.
            span, bar = self.store.span(self.dataset), clockwork.holding(last)
            if span is None or span[1] < bar:
                return clockwork.close(bar)
        return self.source.present(self.clock(), last, pd.Timedelta(clockwork.step, "ns"))

    def _by_now(self, present: pd.Timestamp) -> pd.Timestamp:
        """The present after what a look has cost; a replay that goes on with each look stands still within it."""
        if self._replays and not self._speed:
            return present
        step = pd.Timedelta(self.tail.clockwork.step, "ns")
        return max(present, self.source.present(self.clock(), None, step))

    @property
    def _speed(self) -> float | None:
        """Of a replay; none: a bar with each look."""
        speed: float | None = self.source.config.model_dump().get("speed")
        return speed

    def _settled(self, present: pd.Timestamp) -> pd.Timestamp:
        """Up to when the source has delivered what it has: an exchange may take its time with a bar, a replay doesn't."""
        return present if self._replays else present - pd.Timedelta(nanoseconds(self.tail.dataset.interval), "ns")

    def _pause(self, look: Look | None, troubles: int, behind: int) -> float:
        """Seconds until the next look.

        Args:
            troubles: looks in a row that failed.
            behind: looks in a row that didn't find the newest closed bar.
        """
        delay = max(self.watch.delay_seconds, 1.0)
        if troubles:
            return min(delay * 2.0 ** min(troubles - 1, 20), _LONGEST_PAUSE)
        if look is None:
            return delay
        speed = 1.0
        if self._replays:
            if not self._speed:
                return 0.0
            speed, delay = self._speed, 0.0
        clockwork = self.tail.clockwork
        closes = (clockwork.next_close(look.present) - look.present).total_seconds() / speed + delay
        if not self._replays and not self.retraining.running and (retry := self._until_retry()) > 0:
            closes = min(closes, retry)
        if behind and not self._replays:
            return min(closes, 2 * delay * 2.0 ** min(behind - 1, 5), _LONGEST_PAUSE)
        return closes

    def _event(self, event: str, **values: Any) -> Event:
        return {"event": event, "dataset": self.dataset, **values}
