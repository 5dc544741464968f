"""What was forecast live and what came: each prediction once, before its truth is known, each score once, after."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    and_,
    case,
    func,
    select,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.types import TypeDecorator

from carrossel.errors import StoreError
from carrossel.online.database import explain, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Dialect, Engine, Select
    from sqlalchemy.engine import Row

PERSISTENCE = "persistence"
"""What stands in `model` where 'tomorrow = today' answered."""


class _Time(TypeDecorator[pd.Timestamp]):
    """A UTC time to the microsecond; SQLite knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        moment = pd.Timestamp(value).tz_convert("UTC").as_unit("us").to_pydatetime()
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        del dialect
        if value is None:
            return None
        moment = pd.Timestamp(value)
        moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
        return moment.as_unit("ns")


TABLES = MetaData()
_KEY = ("dataset", "origin", "horizon")


def _key() -> list[Column[Any]]:
    return [
        Column("dataset", String(200), primary_key=True),
        Column("origin", _Time, primary_key=True),
        Column("horizon", Integer, primary_key=True),
    ]


_predictions = Table(
    "predictions",
    TABLES,
    *_key(),
    Column("time", _Time, nullable=False),
    Column("model", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("last_close", Double, nullable=False),
    Column("unchanged", Double, nullable=False),
    Column("forecast", Double, nullable=False),
    Column("lower", Double),
    Column("upper", Double),
    Column("inputs", Text),
    Column("made_at", _Time, nullable=False),
    Column("late", Boolean, nullable=False),
    Index("predictions_time", "dataset", "time"),
    Index("predictions_model", "dataset", "model", "horizon", "origin"),
)
_scores = Table(
    "scores",
    TABLES,
    *_key(),
    Column("truth", Double, nullable=False),
    Column("squared_error", Double, nullable=False),
    Column("persistence_squared_error", Double, nullable=False),
    Column("covered", Boolean),
    Column("loss", Double),
    Column("scored_at", _Time, nullable=False),
)
_states = Table(
    "watch_states",
    TABLES,
    Column("dataset", String(200), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
_SAME = and_(*(_predictions.c[name] == _scores.c[name] for name in _KEY))


@dataclass(frozen=True)
class Prediction:
    """What was said at a bar's close about a later bar.

    Attributes:
        origin: stamp of the newest bar known.
        horizon: bars from there to the bar forecast, whose stamp is `time`.
        model: the champion's version, or `PERSISTENCE`.
        reason: why this model answered.
        target: section `target` as JSON: what the numbers mean.
        unchanged: what 'tomorrow = today' says, in the target's unit, as `forecast`, `lower` and `upper` are.
        inputs: the newest bar's scaled features; none where no network looked at them.
        made_at: the source's present.
        late: whether the truth was known by then.
    """

    dataset: str
    origin: pd.Timestamp
    horizon: int
    time: pd.Timestamp
    model: str
    reason: str
    target: str
    last_close: float
    unchanged: float
    forecast: float
    lower: float | None
    upper: float | None
    inputs: tuple[float, ...] | None
    made_at: pd.Timestamp
    late: bool


@dataclass(frozen=True)
class Score:
    """What came of a prediction.

    Attributes:
        persistence_squared_error: of 'tomorrow = today'.
        covered: whether the interval held the truth; none where there was no interval.
        loss: the error in units that drift is looked for in; see `carrossel.online.watching.scoring`.
    """

    dataset: str
    origin: pd.Timestamp
    horizon: int
    truth: float
    squared_error: float
    persistence_squared_error: float
    covered: bool | None
    loss: float | None
    scored_at: pd.Timestamp


class Tally(NamedTuple):
    """Sums over a model's scores, late predictions aside."""

    scored: int = 0
    squared_error: float = 0.0
    persistence_squared_error: float = 0.0
    with_interval: int = 0
    covered: int = 0

    def add(self, score: Score) -> Tally:
        """With one more score."""
        return Tally(
            self.scored + 1,
            self.squared_error + score.squared_error,
            self.persistence_squared_error + score.persistence_squared_error,
            self.with_interval + (score.covered is not None),
            self.covered + bool(score.covered),
        )

    @property
    def skill(self) -> float | None:
        """1 − mean squared error / that of 'tomorrow = today'; none without an error to beat."""
        if not self.persistence_squared_error:
            return None
        return 1 - self.squared_error / self.persistence_squared_error

    @property
    def coverage(self) -> float | None:
        """Share of truths within their interval."""
        return self.covered / self.with_interval if self.with_interval else None


class Writer:
    """What one bar writes; all of it or nothing is kept."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def predictions(self, rows: Sequence[Prediction]) -> None:
        """Insert; a prediction that is there already is an error."""
        values = [_plain(row) | {"inputs": None if row.inputs is None else json.dumps(row.inputs)} for row in rows]
        if values:
            self._connection.execute(_predictions.insert(), values)

    def scores(self, rows: Sequence[Score]) -> None:
        """Insert; a score that is there already is an error."""
        if rows:
            self._connection.execute(_scores.insert(), [_plain(row) for row in rows])

    def state(self, dataset: str, name: str, value: bytes) -> None:
        """Replace what the loop has to know after a restart."""
        key = and_(_states.c.dataset == dataset, _states.c.name == name)
        if not self._connection.execute(_states.update().where(key).values(value=value)).rowcount:
            self._connection.execute(_states.insert().values(dataset=dataset, name=name, value=value))


class PredictionStore:
    """Tables `predictions`, `scores` and `watch_states` of the database behind `carrossel.online.database`.

    Every method raises StoreError if the database doesn't answer or refuses.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._url = engine.url.render_as_string(hide_password=False)

    @classmethod
    def open(cls, root: Path, url: str | None = None) -> PredictionStore:
        """Connect; see `carrossel.online.database.open_database`."""
        return cls(open_database(TABLES, root, url))

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """One transaction: committed at the block's end, undone if it raises."""
        try:
            with self._engine.begin() as connection:
                yield Writer(connection)
        except IntegrityError as error:
            raise StoreError(
                f"a prediction or score is there already ({explain(error, self._url)}): another `carrossel watch` of this dataset "
                "writes to the same store. Stop one of them."
            ) from None
        except SQLAlchemyError as error:
            raise self._refused(error) from None

    def pending(self, dataset: str, since: pd.Timestamp, until: pd.Timestamp) -> list[Prediction]:
        """Predictions of bars in since … until that have no score, oldest first."""
        query = (
            select(_predictions)
            .outerjoin(_scores, _SAME)
            .where(
                _predictions.c.dataset == dataset,
                _predictions.c.time >= since,
                _predictions.c.time <= until,
                _scores.c.dataset.is_(None),
            )
            .order_by(_predictions.c.origin, _predictions.c.horizon)
        )
        return [_prediction(row) for row in self._read(query)]

    def origins(self, dataset: str, since: pd.Timestamp) -> set[pd.Timestamp]:
        """Bars that were predicted from, from `since` on."""
        key = (_predictions.c.dataset == dataset, _predictions.c.origin >= since)
        return {row[0] for row in self._read(select(_predictions.c.origin).where(*key).distinct())}

    def span(self, dataset: str) -> tuple[pd.Timestamp, pd.Timestamp] | None:
        """First and newest bar that were predicted from; None if there is none."""
        # Two look-ups at the ends of the key's index; min and max in one query would walk over all of it.
        at = select(_predictions.c.origin).where(_predictions.c.dataset == dataset).limit(1)
        first = self._read(at.order_by(_predictions.c.origin))
        last = self._read(at.order_by(_predictions.c.origin.desc()))
        return (first[0][0], last[0][0]) if first and last else None

    def scored(self, dataset: str, model: str, horizon: int, count: int) -> pd.DataFrame:
        """The newest `count` scored predictions of a model, late ones aside, oldest first: origin, time, truth, forecast."""
        names = (_predictions.c.origin, _predictions.c.time, _scores.c.truth, _predictions.c.forecast)
        query = (
            self._of_model(select(*names), dataset, model, horizon).order_by(_predictions.c.origin.desc()).limit(count)
        )
        return pd.DataFrame(self._read(query)[::-1], columns=["origin", "time", "truth", "forecast"])

    def losses(self, dataset: str, model: str, horizon: int) -> list[tuple[float, tuple[float, ...]]]:
        """Loss and inputs of a model's scored predictions, in the order they were scored; those without are left out."""
        query = self._of_model(select(_scores.c.loss, _predictions.c.inputs), dataset, model, horizon, late=True)
        query = query.where(_scores.c.loss.is_not(None), _predictions.c.inputs.is_not(None))
        query = query.order_by(_scores.c.scored_at, _predictions.c.time, _predictions.c.origin)
        return [(loss, tuple(json.loads(inputs))) for loss, inputs in map(tuple, self._read(query))]

    def tally(self, dataset: str, model: str, horizon: int) -> Tally:
        """Sums over a model's scores, late predictions aside."""
        hit = case((_scores.c.covered, 1), else_=0)
        sums = select(
            func.count(),
            func.coalesce(func.sum(_scores.c.squared_error), 0.0),
            func.coalesce(func.sum(_scores.c.persistence_squared_error), 0.0),
            func.count(_scores.c.covered),
            func.coalesce(func.sum(hit), 0),
        )
        return Tally(*self._read(self._of_model(sums, dataset, model, horizon))[0])

    def state(self, dataset: str, name: str) -> bytes | None:
        """What `Writer.state` wrote last."""
        rows = self._read(select(_states.c.value).where(_states.c.dataset == dataset, _states.c.name == name))
        return bytes(rows[0][0]) if rows else None

    def rows(self, dataset: str) -> pd.DataFrame:
        """All predictions with their scores, NaN where there is none yet, oldest first."""
        scores = [column for column in _scores.c if column.name not in _KEY]
        query = select(_predictions, *scores).outerjoin(_scores, _SAME).where(_predictions.c.dataset == dataset)
        query = query.order_by(_predictions.c.origin, _predictions.c.horizon)
        names = [column.name for column in (*_predictions.c, *scores)]
        return pd.DataFrame([tuple(row) for row in self._read(query)], columns=names)

    def _of_model(
        self, query: Select[Any], dataset: str, model: str, horizon: int, *, late: bool = False
    ) -> Select[Any]:
        of_model = query.select_from(_predictions.join(_scores, _SAME)).where(
            _predictions.c.dataset == dataset, _predictions.c.model == model, _predictions.c.horizon == horizon
        )
        return of_model if late else of_model.where(_predictions.c.late.is_(False))

    def _read(self, query: Select[Any]) -> Sequence[Row[Any]]:
        try:
            with self._engine.connect() as connection:
                return connection.execute(query).all()
        except SQLAlchemyError as error:
            raise self._refused(error) from None

    def _refused(self, error: SQLAlchemyError) -> StoreError:
        shown = self._engine.url.render_as_string(hide_password=True)
        return StoreError(f"{shown} refuses: {explain(error, self._url)}. Nothing of this bar was stored.")


def _plain(row: Prediction | Score) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _prediction(row: Row[Any]) -> Prediction:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    inputs = values.pop("inputs")
    return Prediction(**values, inputs=None if inputs is None else tuple(json.loads(inputs)))


def as_plain(row: Prediction | Score) -> dict[str, Any]:
    """A row as JSON data."""
    return {
        name: value.isoformat() if isinstance(value, pd.Timestamp) else value for name, value in asdict(row).items()
    }
