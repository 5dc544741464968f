from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from sqlalchemy import text

from carrossel.errors import StoreError
from carrossel.online.predictions import Prediction, PredictionStore, Score, Tally
from postgres import running_cluster

HOUR = pd.Timedelta("1h")
START = pd.Timestamp("2020-01-05T04:00:00Z")


def predicted(number=0, **keys):
    origin = START + number * HOUR
    row = Prediction(
        dataset="walk",
        origin=origin,
        horizon=1,
        time=origin + HOUR,
        model="1",
        reason="version 1",
        target='{"kind": "log_return"}',
        last_close=100.0,
        unchanged=100.0,
        forecast=101.0,
        lower=99.0,
        upper=103.0,
        inputs=(0.5, -0.1),
        made_at=origin + HOUR,
        late=False,
    )
    return replace(row, **keys)


def scored(number=0, truth=102.0, **keys):
    row = Score(
        dataset="walk",
        origin=START + number * HOUR,
        horizon=1,
        truth=truth,
        squared_error=(101.0 - truth) ** 2,
        persistence_squared_error=(100.0 - truth) ** 2,
        covered=99.0 <= truth <= 103.0,
        loss=1e-4,
        scored_at=START + (number + 2) * HOUR,
    )
    return replace(row, **keys)


@pytest.fixture(scope="module")
def cluster():
    with running_cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    url = request.getfixturevalue("cluster") if request.param == "postgresql" else None
    opened = PredictionStore.open(tmp_path, url)
    with opened._engine.begin() as connection:
        for table in ("predictions", "scores", "watch_states"):
            connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - the names above
    yield opened
    opened.close()


def fill(store, *numbers, **keys):
    with store.writing() as writer:
        writer.predictions([predicted(number, **keys) for number in numbers])


def test_what_was_written_is_read_again(store):
    fill(store, 0, 1)

    assert store.pending("walk", START, START + 2 * HOUR) == [predicted(0), predicted(1)]
    assert store.pending("walk", START, START + HOUR) == [predicted(0)]
    assert store.origins("walk", START + HOUR) == {START + HOUR}
    assert store.span("walk") == (START, START + HOUR)
    assert store.span("other") is None


def test_a_prediction_is_never_written_twice(store):
    fill(store, 0)

    with pytest.raises(StoreError, match="another `carrossel watch`"):
        fill(store, 0, forecast=7.0)

    assert store.pending("walk", START, START + HOUR) == [predicted(0)]


def test_a_bar_is_written_whole_or_not_at_all(store):
    fill(store, 0)

    def broken():
        with store.writing() as writer:
            writer.scores([scored(0)])
            writer.state("walk", "progress", b"1")
            writer.predictions([predicted(1), predicted(0)])

    with pytest.raises(StoreError):
        broken()

    assert store.pending("walk", START, START + 9 * HOUR) == [predicted(0)]
    assert store.state("walk", "progress") is None


def test_scored_predictions_arent_pending_and_add_up(store):
    fill(store, 0, 1, 2)
    fill(store, 3, late=True)
    fill(store, 4, model="persistence")
    with store.writing() as writer:
        writer.scores([scored(0), scored(1, 104.0), scored(3), scored(4)])

    assert store.pending("walk", START, START + 9 * HOUR) == [predicted(2)]
    tally = store.tally("walk", "1", 1)
    assert tally == Tally(2, 1.0 + 9.0, 4.0 + 16.0, 2, 1)
    assert tally.skill == 0.5
    assert tally.coverage == 0.5
    assert store.tally("walk", "2", 1) == Tally()
    past = store.scored("walk", "1", 1, 10)
    assert list(past["origin"]) == [START, START + HOUR]
    assert list(past["truth"]) == [102.0, 104.0]
    assert list(store.scored("walk", "1", 1, 1)["truth"]) == [104.0]


def test_losses_come_in_the_order_they_were_scored(store):
    fill(store, 0, 2)
    fill(store, 1, inputs=None)
    with store.writing() as writer:
        writer.scores([scored(2, loss=3.0), scored(0, loss=1.0), scored(1, loss=2.0)])

    assert store.losses("walk", "1", 1) == [(1.0, (0.5, -0.1)), (3.0, (0.5, -0.1))]


def test_a_running_sum_is_that_of_the_store():
    tally = Tally().add(scored(0)).add(scored(1, 104.0)).add(scored(2, covered=None))

    assert tally == Tally(3, 1.0 + 9.0 + 1.0, 4.0 + 16.0 + 4.0, 2, 1)
    assert Tally().skill is None
    assert Tally().coverage is None


def test_a_state_is_replaced(store):
    for value in (b"one", b"two"):
        with store.writing() as writer:
            writer.state("walk", "ticker", value)

    assert store.state("walk", "ticker") == b"two"
    assert store.state("walk", "progress") is None


def test_rows_hold_predictions_beside_their_scores(store):
    fill(store, 0, 1)
    with store.writing() as writer:
        writer.scores([scored(0)])

    rows = store.rows("walk")
    assert list(rows["truth"].isna()) == [False, True]
    assert rows["made_at"].iloc[0] == START + HOUR


def test_a_database_that_is_gone_is_one_error_without_its_password(tmp_path):
    url = "postgresql+psycopg://tester:geheim@127.0.0.1:1/postgres"
    with pytest.raises(StoreError) as raised:
        PredictionStore.open(tmp_path, url)

    assert "geheim" not in str(raised.value)
