"""What is said at a bar's close: the champion's forecast, or persistence and why."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from carrossel.errors import CarrosselError
from carrossel.online.predictions import PERSISTENCE, Prediction
from carrossel.online.watching.intervals import REMEMBERED, find_interval
from carrossel.targets.base import QUANTILES, make_target
from carrossel.windows.tensor import columns_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carrossel.forecaster.stored import Forecast
    from carrossel.online.champion import Champion
    from carrossel.online.predictions import PredictionStore, Score
    from carrossel.online.ticking import StateKind
    from carrossel.online.watching.intervals import Interval
    from carrossel.online.watching.network import LiveNetwork
    from carrossel.online.watching.tail import Clockwork
    from carrossel.targets.base import Columns, Target
    from carrossel.windows.question import Question

STATE = "ticker"
"""Name of a carried state in the store."""


class Answer(NamedTuple):
    """Predictions of one bar, and the network's state after it if it is carried."""

    predictions: list[Prediction]
    state: bytes | None = None


class Answers:
    """Turns bars into predictions.

    Args:
        dataset: its name.
        question: what the dataset is asked; a champion answers the one it was trained on.
        kind: see `carrossel.online.ticking.Ticker`.
        store: knows earlier errors, and the state that was carried.
    """

    def __init__(
        self, dataset: str, question: Question, kind: StateKind, store: PredictionStore, clockwork: Clockwork
    ) -> None:
        self.dataset, self.question, self.kind = dataset, question, kind
        self.store, self.clockwork = store, clockwork
        self.champion: Champion | None = None
        self._network: LiveNetwork | None = None
        self._broken = ""
        self._bars: pd.DataFrame
        self._columns: Columns

    def follow(self, champion: Champion) -> bool:
        """Answer by this champion from now on; whether that is news."""
        before, self.champion = self.champion, champion
        if before is not None and (before.version, before.folder) == (champion.version, champion.folder):
            return before.reason != champion.reason
        self._network, self._broken = None, ""
        if champion.folder is not None and champion.version is not None:
            from carrossel.online.watching.network import LiveNetwork  # imports torch, which persistence doesn't need

            recall = partial(self.store.state, self.dataset, STATE)
            try:
                self._network = LiveNetwork(champion.folder, champion.version, self.kind, recall)
            except CarrosselError as error:
                problem = " ".join(str(error).split())
                self._broken = f"persistence serves: version {champion.version} can't be used: {problem}"
        return True

    def forget(self) -> None:
        """Go on from what was stored: what was answered last wasn't."""
        if self._network is not None:
            self._network.forget()

    @property
    def model(self) -> str:
        """What stands in `model` of predictions from a complete window."""
        version = None if self._network is None or self.champion is None else self.champion.version
        return PERSISTENCE if version is None else version

    @property
    def reason(self) -> str:
        """Why this model answers."""
        return self._broken or ("" if self.champion is None else self.champion.reason)

    @property
    def features(self) -> tuple[str, ...]:
        """What the champion looks at."""
        return self._network.stored.windows.features if self._network is not None else ()

    @property
    def horizons(self) -> tuple[int, ...]:
        """Bars ahead; running figures are about the first."""
        return (self._network.stored.windows if self._network is not None else self.question.windows).horizons

    @property
    def needed(self) -> int:
        """Bars for a forecast, the newest included."""
        return max(1 + self.horizons[-1], 0 if self._network is None else self._network.needed)

    def look(self, bars: pd.DataFrame) -> None:
        """Take canonical bars, oldest first, for the answers from them."""
        self._bars, self._columns = bars, columns_of(bars)
        if self._network is not None:
            self._network.look(bars)

    def answer(self, row: int, present: pd.Timestamp, fresh: Sequence[tuple[Prediction, Score]] = ()) -> Answer:
        """Predictions from the bar in a row; none where even 'tomorrow = today' isn't known.

        Args:
            present: the source's.
            fresh: what this bar answered, which isn't in the store yet.
        """
        found, why = (None, self.reason) if self._network is None else self._network.forecast(row)
        predictions = []
        for place, horizon in enumerate(self.horizons):
            unchanged = self._unchanged(row, horizon)
            if unchanged is None:
                return Answer([])
            base = self._prediction(row, horizon, unchanged, present)
            if found is None:
                made = replace(base, reason=why if self._network is None else f"persistence serves: {why}")
            else:
                made = replace(base, model=self.model, forecast=float(found.point[0, place]))
            lower, upper = self._interval(made, place, found, fresh)
            predictions.append(replace(made, lower=lower, upper=upper))
        return Answer(predictions, None if self._network is None else self._network.state(row))

    @property
    def _target(self) -> Target:
        return make_target(self.question.target) if self._network is None else self._network.stored.target

    def _prediction(self, row: int, horizon: int, unchanged: float, present: pd.Timestamp) -> Prediction:
        """By persistence, without an interval."""
        origin = self._bars["timestamp"].iloc[row]
        time = self.clockwork.ahead(origin, horizon)
        return Prediction(
            dataset=self.dataset,
            origin=origin,
            horizon=horizon,
            time=time,
            model=PERSISTENCE,
            reason=self.reason,
            target=json.dumps(self._target.config.model_dump(), sort_keys=True),
            last_close=float(self._columns["close"][row]),
            unchanged=unchanged,
            forecast=unchanged,
            lower=None,
            upper=None,
            inputs=None if self._network is None else self._network.inputs(row),
            made_at=present,
            late=bool(present >= self.clockwork.close(time)),
        )

    def _unchanged(self, row: int, horizon: int) -> float | None:
        """The naive label in the target's unit; where the bar has none, as without a variance, the last one known."""
        label = self._target.unchanged(self._columns, horizon)[: row + 1]
        known = np.flatnonzero(np.isfinite(label))
        if not len(known):
            return None
        return float(self._target.report(label[known[-1]], self._columns["close"][row]))

    def _interval(
        self, made: Prediction, place: int, found: Forecast | None, fresh: Sequence[tuple[Prediction, Score]]
    ) -> Interval:
        if self._target.unit == "probability":
            return None, None
        if found is not None and found.quantiles is not None:
            levels = found.quantiles[0, place]
            return float(levels[0]), float(levels[len(QUANTILES) - 1])
        told = None if found is None or self._network is None else self._network.stored.manifest.get("interval")
        past = self.store.scored(made.dataset, made.model, made.horizon, REMEMBERED)
        own = [
            (each.origin, each.time, came.truth, each.forecast)
            for each, came in fresh
            if (each.model, each.horizon, each.late) == (made.model, made.horizon, False)
        ]
        if own:
            past = pd.concat([past, pd.DataFrame(own, columns=past.columns)])
            # A bar that came late answers older forecasts than those that were scored already.
            past = past.sort_values("origin", ignore_index=True)
        try:
            return find_interval(made, past, told, place)
        except CarrosselError:  # a forecast without an interval is better than none
            return None, None
