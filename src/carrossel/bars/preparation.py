"""From what a source delivered to canonical bars and a report of what was found and done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from carrossel.bars import quality, rules
from carrossel.bars.grid import Grid, make_grid, usual_step
from carrossel.bars.interval import nanoseconds, written
from carrossel.bars.quality import iso
from carrossel.bars.resampling import REALISED_VARIANCE, resample
from carrossel.bars.rules import Finding, Rule
from carrossel.bars.schema import CANONICAL, RAW, check
from carrossel.bars.sources.base import COLUMNS, PRICES, RawBars, frame_of
from carrossel.bars.status import FILLED, MISSING, OBSERVED, STATUSES, encode, spell
from carrossel.errors import BarsError, SeriesTooShort

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from carrossel.bars.config import Dataset, Repair

Arrays = dict[str, np.ndarray]

_SMALLEST_COVERAGE = 0.01
_LISTED_GAPS = 20
_THIN = 0.5


@dataclass(frozen=True)
class Prepared:
    """Canonical bars and their quality report as plain JSON data."""

    bars: pd.DataFrame
    report: dict[str, Any]


def prepare(raw: RawBars, dataset: Dataset, repair: Repair, *, name: str, now: pd.Timestamp) -> Prepared:
    """Check and repair raw bars, put them on their grid and mark what is missing.

    In this order: sort; refuse future stamps; drop unfinished bars, rows without price or with impossible ones, rows off the
    grid and repeated stamps; adjust or drop rows outside of low … high; drop bad prints and copies; aggregate; put on
    the grid; fill short gaps; cut to the newest bars, if only those are wanted.

    Args:
        raw: what the source delivered.
        dataset: its interval, calendar and resampling.
        repair: which gaps may be filled.
        name: the dataset's name, for messages.
        now: the present, UTC: a bar that ends later isn't finished.

    Raises:
        BarsError: if there is no bar, a price column is empty, a stamp lies in the future, all closes are equal, the
            interval or calendar doesn't fit, or more than 1 % of the rows break one rule.
        SeriesTooShort: if fewer than two bars are left.
    """
    check(raw.frame, RAW)
    bars, provenance = _arrays(raw.frame), raw.provenance
    del raw  # if the caller kept nothing, each step lets go of what it replaced
    return _Preparation(dataset, repair, name, int(now.tz_convert("UTC").as_unit("ns").value)).run(bars, provenance)


class _Preparation:
    def __init__(self, dataset: Dataset, repair: Repair, name: str, now: int) -> None:
        self.dataset, self.repair, self.name, self.now = dataset, repair, name, now
        self.findings: list[Finding] = []
        self.rows = 0
        self.left_out = 0

    def run(self, arrays: Arrays, provenance: dict[str, Any]) -> Prepared:
        bars = {column: arrays.pop(column) for column in COLUMNS}
        self.rows = len(bars["timestamp"])
        if not self.rows:
            raise BarsError(f"{self.name} has no bars. Check datasets.{self.name}.source.")
        bars = self._sort(bars)
        span = (int(bars["timestamp"][0]), int(bars["timestamp"][-1]))
        grid = make_grid(self.dataset.calendar, nanoseconds(self.dataset.interval), *span)
        bars["timestamp"] = grid.snap(bars["timestamp"])
        self._refuse_empty_columns(bars)
        bars = self._drop(bars, self._unfinished(bars, grid), rules.UNFINISHED)
        bars = self._drop(bars, quality.without_price(bars), rules.WITHOUT_PRICE)
        bars = self._drop(bars, quality.not_positive(bars), rules.NOT_POSITIVE)
        bars = self._drop(bars, ~grid.has(bars["timestamp"]), rules.OFF_GRID)
        bars = self._drop_repeated(bars)
        bars = self._fit_range(bars)
        bars = self._drop(bars, quality.bad_prints(bars), rules.BAD_PRINTS)
        bars = self._drop(bars, quality.copies(bars), rules.COPIES)
        self._check_series(bars, grid)
        usable = len(bars["timestamp"])
        if self.dataset.resample is not None:
            bars, grid = self._resample(bars, grid)
        frame = self._newest(self._spread(bars, grid))
        check(frame, CANONICAL)
        return Prepared(frame, self._report(provenance, span, usable, frame))

    def _sort(self, bars: Arrays) -> Arrays:
        backwards = np.concatenate([[False], bars["timestamp"][1:] < bars["timestamp"][:-1]])
        self._note(bars, backwards, rules.UNORDERED)
        if backwards.any():
            order = np.argsort(bars["timestamp"], kind="stable")
            bars = {name: values[order] for name, values in bars.items()}
        late = len(bars["timestamp"]) - int(np.searchsorted(bars["timestamp"], self.now, side="right"))
        if late:
            raise BarsError(
                f"{self.name}: {late} of {self.rows} bars lie in the future, the first at "
                f"{iso(int(bars['timestamp'][-late]))} UTC. Check the times' unit and zone in datasets.{self.name}.source."
            )
        return bars

    def _refuse_empty_columns(self, bars: Arrays) -> None:
        for name in PRICES:
            if not np.isfinite(bars[name]).any():
                raise BarsError(
                    f"{self.name}: column {name} holds no number in any of {self.rows} rows. Check the file, or name the "
                    f"right column in datasets.{self.name}.source."
                )

    def _unfinished(self, bars: Arrays, grid: Grid) -> np.ndarray:
        stamps = bars["timestamp"]
        place = grid.place(stamps[-1:])
        if place[0] < 0 or grid.end(place)[0] <= self.now:
            return np.zeros(len(stamps), bool)
        return np.asarray(stamps >= grid.label(place)[0])

    def _drop_repeated(self, bars: Arrays) -> Arrays:
        identical, conflicting = quality.repeated_stamps(bars)
        self._note(bars, identical, rules.IDENTICAL)
        self._note(bars, conflicting, rules.CONFLICTING)
        return _kept(bars, ~(identical | conflicting))

    def _fit_range(self, bars: Arrays) -> Arrays:
        near, far = quality.outside_range(bars)
        self._note(bars, near, rules.WIDENED)
        if near.any():
            top, bottom = np.maximum(bars["open"], bars["close"]), np.minimum(bars["open"], bars["close"])
            high = np.where(near, np.maximum(bars["high"], top), bars["high"])
            low = np.where(near, np.minimum(bars["low"], bottom), bars["low"])
            bars = {**bars, "high": high, "low": low}
        return self._drop(bars, far, rules.OUTSIDE_RANGE)

    def _check_series(self, bars: Arrays, grid: Grid) -> None:
        stamps, closes = bars["timestamp"], bars["close"]
        left = len(stamps)
        if left < 2:  # noqa: PLR2004 -- two bars make a series
            raise SeriesTooShort(
                f"{self.name}: {left} of {self.rows} rows are usable bars; a series needs many. Get more data."
            )
        if bool((closes == closes[0]).all()):
            raise BarsError(
                f"{self.name}: all {left} closes are {closes[0]:g}; a constant series holds nothing to learn. Check the "
                "file's columns."
            )
        places = grid.place(stamps)
        usual = usual_step(places, grid)
        if usual != written(grid.step):
            raise BarsError(
                f"{self.name}: most bars are {usual} apart, but datasets.{self.name}.interval is "
                f"{self.dataset.interval}. Set it to {usual}."
            )
        covered = left / int(places[-1] - places[0] + 1)
        if covered < _SMALLEST_COVERAGE:
            hole = int(np.diff(places).argmax())
            raise BarsError(
                f"{self.name}: bars cover {covered:.2%} of {iso(int(stamps[0]))} to {iso(int(stamps[-1]))}; the longest hole "
                f"is from {iso(int(stamps[hole]))} to {iso(int(stamps[hole + 1]))}. Check for stray times, or cut the series."
            )

    def _resample(self, bars: Arrays, grid: Grid) -> tuple[Arrays, Grid]:
        stamps = bars["timestamp"]
        step = nanoseconds(self.dataset.bar_interval)
        target = make_grid(self.dataset.calendar, step, int(stamps[0]), int(stamps[-1]))
        variance_step = nanoseconds(self.dataset.variance_step or self.dataset.interval)
        steps = make_grid(self.dataset.calendar, variance_step, int(stamps[0]), int(stamps[-1]))
        longer, counts = resample(bars, grid, target, self.dataset.price, steps)
        if len(counts) < 2:  # noqa: PLR2004 -- two bars make a series
            raise SeriesTooShort(
                f"{self.name}: {len(stamps)} bars of {self.dataset.interval} make {len(counts)} whole bars of "
                f"{self.dataset.resample}. Get more data or lower datasets.{self.name}.resample."
            )
        self._note(longer, counts < _THIN * np.median(counts), rules.THIN)
        return longer, target

    def _spread(self, bars: Arrays, grid: Grid) -> pd.DataFrame:
        at = grid.place(bars.pop("timestamp"))
        first = int(at[0])
        at -= first
        size = int(at[-1]) + 1
        codes = np.full(size, MISSING, np.int8)
        codes[at] = OBSERVED
        before = np.flatnonzero(np.diff(at) > 1)
        absent = at[before + 1] - at[before] - 1
        fillable = absent <= self.repair.longest_fill
        short, lengths = before[fillable], absent[fillable]
        since = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        filled = np.repeat(at[short] + 1, lengths) + since
        codes[filled] = FILLED
        carried = np.repeat(bars["close"][short], lengths)
        # In a filled bar nothing was traded and the price stood still.
        still = {REALISED_VARIANCE: 0.0, "volume": 0.0 if np.isfinite(bars["volume"]).any() else np.nan}
        columns = {}
        for name in tuple(bars):
            values = bars.pop(name)  # each column is let go as soon as its place on the grid is filled
            if size == len(at):
                columns[name] = values
                continue
            columns[name] = np.full(size, np.nan)
            columns[name][at] = values
            columns[name][filled] = still.get(name, carried)
        return _frame(grid.label(np.arange(first, first + size)), columns, codes)

    def _newest(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The newest bars that are wanted, from the first one observed on."""
        if self.dataset.newest is None or self.dataset.newest >= len(frame):
            return frame
        first = len(frame) - self.dataset.newest
        first += int((encode(frame["status"].iloc[first:]) == OBSERVED).argmax())
        self.left_out = first
        return frame.iloc[first:].reset_index(drop=True)

    def _report(
        self, provenance: dict[str, Any], span: tuple[int, int], usable: int, frame: pd.DataFrame
    ) -> dict[str, Any]:
        codes = encode(frame["status"])
        counts = {key: int((codes == code).sum()) for code, key in enumerate(STATUSES)}
        stamps = frame["timestamp"].dt.tz_localize(None).to_numpy().view(np.int64)
        return {
            "dataset": self.name,
            "calendar": self.dataset.calendar,
            "interval": self.dataset.interval,
            "resample": self.dataset.resample,
            "price": self.dataset.price,
            "variance_interval": self.dataset.variance_step,
            "longest_fill": self.repair.longest_fill,
            "newest": self.dataset.newest,
            "left_out": self.left_out,
            "source": provenance,
            "raw": {"rows": self.rows, "first": iso(span[0]), "last": iso(span[1]), "usable": usable},
            "bars": {
                **counts,
                "rows": len(frame),
                "interval": self.dataset.bar_interval,
                "first": iso(int(stamps[0])),
                "last": iso(int(stamps[-1])),
            },
            "gaps": _gaps(stamps, codes),
            "findings": [finding.as_json() for finding in self.findings],
        }

    def _drop(self, bars: Arrays, rows: np.ndarray, rule: Rule) -> Arrays:
        self._note(bars, rows, rule)
        return _kept(bars, ~rows)

    def _note(self, bars: Arrays, rows: np.ndarray, rule: Rule) -> None:
        count = int(rows.sum())
        shown = quality.examples(bars, rows) if count else ()
        if rule.limited and quality.too_many(count, self.rows):
            numbers = [f"{key} {value:g}" for key, value in shown[0].items() if isinstance(value, float)]
            raise BarsError(
                f"{self.name}: {rule.title[0].lower()}{rule.title[1:]} in {count} of {self.rows} rows, more than "
                f"{quality.TRUSTED_SHARE:.0%}; the first is {shown[0]['timestamp']} UTC ({', '.join(numbers)}). {rule.advice}."
            )
        self.findings.append(Finding(rule, count, shown))


def _arrays(frame: pd.DataFrame) -> Arrays:
    stamps = frame["timestamp"].dt.tz_localize(None).to_numpy().view(np.int64)
    return {"timestamp": stamps, **{name: frame[name].to_numpy() for name in COLUMNS[1:]}}


def _kept(bars: Arrays, rows: np.ndarray) -> Arrays:
    return bars if rows.all() else {name: values[rows] for name, values in bars.items()}


def _frame(labels: np.ndarray, columns: Arrays, codes: NDArray[np.int8]) -> pd.DataFrame:
    frame = frame_of(labels.view("datetime64[ns]"), columns)
    frame["status"] = spell(codes)
    return frame


def _gaps(stamps: np.ndarray, codes: NDArray[np.int8]) -> dict[str, Any]:
    """Runs of bars that weren't observed, longest first."""
    absent = np.concatenate([[False], codes != OBSERVED, [False]])
    edges = np.flatnonzero(np.diff(absent.astype(np.int8)))
    first, last = edges[::2], edges[1::2] - 1
    lengths = last - first + 1
    order = np.argsort(-lengths, kind="stable")[:_LISTED_GAPS]
    return {
        "count": len(first),
        "bars": int(lengths.sum()),
        "missing": int((codes[first] == MISSING).sum()),
        "longest": [
            {
                "first": iso(int(stamps[first[i]])),
                "last": iso(int(stamps[last[i]])),
                "bars": int(lengths[i]),
                "status": STATUSES[codes[first[i]]],
            }
            for i in order
        ],
    }
