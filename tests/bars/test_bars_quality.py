from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from carrossel.bars import quality


def bars(closes: list[float], **columns: list[float]) -> dict[str, np.ndarray]:
    close = np.array(closes, float)
    plain = {"open": close, "high": close, "low": close, "close": close, "volume": np.arange(1.0, len(close) + 1)}
    changed = {name: np.array(values, float) for name, values in columns.items()}
    return {"timestamp": np.arange(len(close), dtype=np.int64), **plain, **changed}


def rows(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask).tolist()


QUIET = [100.0, 101, 100, 101, 100, 101, 100, 101]


def test_a_print_of_a_hundredth_that_returns_is_bad() -> None:
    assert rows(quality.bad_prints(bars([101.01, 101.2, 106, 1.06, 100, 101.01, 105, 100]))) == [3]


def test_a_crash_that_stays_is_no_bad_print() -> None:
    assert rows(quality.bad_prints(bars([*QUIET, 50, 49, 50, 51]))) == []


def test_a_crash_that_takes_two_bars_to_return_is_no_bad_print() -> None:
    assert rows(quality.bad_prints(bars([*QUIET, 50, 51, *QUIET]))) == []


def test_a_jump_of_less_than_a_fifth_is_no_bad_print() -> None:
    calm = [100, 100.1] * 4

    assert rows(quality.bad_prints(bars([*calm, 118, *calm]))) == []
    assert rows(quality.bad_prints(bars([*calm, 125, *calm]))) == [8]


def test_a_market_that_moves_that_much_anyway_has_no_bad_prints() -> None:
    assert rows(quality.bad_prints(bars([100, 200, 100, 200, 100, 200, 100]))) == []


def test_a_wick_is_bad_only_beyond_a_factor_of_two() -> None:
    closes = [*QUIET, *QUIET]
    low = [close * 0.99 for close in closes]

    assert rows(quality.bad_prints(bars(closes, low=[*low[:5], 60, *low[6:]]))) == []
    assert rows(quality.bad_prints(bars(closes, low=[*low[:5], 13, *low[6:]]))) == [5]


def test_the_bar_that_opens_at_a_bad_print_is_found_with_it() -> None:
    closes = [*QUIET, 10, *QUIET]
    opens = [100, *closes[:-1]]

    assert rows(quality.bad_prints(bars(closes, open=opens))) == [8, 9]


@pytest.mark.parametrize("closes", [[], [1], [1, 100], [1, 1, 1, 1]])
def test_short_and_constant_series_have_no_bad_prints(closes: list[float]) -> None:
    assert rows(quality.bad_prints(bars(closes))) == []


def moving(volumes: list[float], **columns: list[float]) -> dict[str, np.ndarray]:
    closes = [float(volume) for volume in volumes]
    wide = {"high": [close + 1 for close in closes], "low": [close - 0.5 for close in closes]}
    return bars(closes, **{"volume": volumes, **wide, **columns})


def test_three_bars_that_repeat_earlier_ones_are_copies_and_two_are_not() -> None:
    assert rows(quality.copies(moving([1, 2, 3, 4, 5, 2, 3, 4, 9]))) == [5, 6, 7]
    assert rows(quality.copies(moving([1, 2, 3, 4, 5, 2, 3, 9, 8]))) == []


def test_a_longer_copy_is_found_whole() -> None:
    assert rows(quality.copies(moving([1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6]))) == [5, 6, 7, 8, 9]


def test_the_same_volumes_and_closes_with_other_opens_are_no_copies() -> None:
    assert rows(quality.copies(moving([1, 2, 3, 1, 2, 3], open=[1, 2, 3, 1, 2, 3.1]))) == []


@pytest.mark.parametrize("volume", [[np.nan] * 6, [0.0] * 6])
def test_bars_without_trades_are_no_copies(volume: list[float]) -> None:
    assert rows(quality.copies(moving([1, 2, 3, 1, 2, 3], volume=volume))) == []


def test_bars_whose_price_did_not_move_are_no_copies() -> None:
    assert rows(quality.copies(bars([5, 5, 5, 5, 5, 5], volume=[1, 1, 1, 1, 1, 1]))) == []


def test_of_rows_of_one_time_the_last_is_kept_and_the_others_are_sorted_out() -> None:
    same = bars([1, 1, 2, 3, 3, 4], volume=[7, 7, 1, 1, 1, 1])
    same["timestamp"] = np.array([0, 0, 1, 1, 1, 2])

    identical, conflicting = quality.repeated_stamps(same)

    assert rows(identical) == [0, 3]
    assert rows(conflicting) == [2]


def test_two_unknown_volumes_are_the_same() -> None:
    same = bars([1, 1], volume=[np.nan, np.nan])
    same["timestamp"] = np.array([0, 0])

    assert rows(quality.repeated_stamps(same)[0]) == [0]


def test_a_close_outside_of_the_range_counts_by_how_far() -> None:
    near, far = quality.outside_range(bars([100, 100, 100], high=[100, 99.95, 99], low=[99, 99, 99]))

    assert (rows(near), rows(far)) == ([1], [2])


def test_rows_without_price_and_with_impossible_numbers_are_found() -> None:
    wrong: dict[str, Any] = bars([1, np.nan, np.inf, 0, -1, 1], volume=[1, 1, 1, 1, 1, -1])

    assert rows(quality.without_price(wrong)) == [1, 2]
    assert rows(quality.not_positive(wrong)) == [3, 4, 5]


@pytest.mark.parametrize(
    ("count", "size", "many"), [(1, 10, False), (2, 10, True), (10, 1000, False), (11, 1000, True)]
)
def test_more_than_one_per_cent_is_too_many_but_one_never_is(count: int, size: int, many: bool) -> None:
    assert quality.too_many(count, size) is many


def test_examples_are_plain_data() -> None:
    shown = quality.examples(bars([1, 2], volume=[np.nan, 3]), np.array([True, False]))

    assert shown == (
        {"timestamp": "1970-01-01 00:00", "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": None},
    )
