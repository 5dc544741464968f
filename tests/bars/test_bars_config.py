from __future__ import annotations

import sys

import pytest

from carrossel.bars.config import Dataset, Repair
from carrossel.bars.interval import nanoseconds, written
from carrossel.bars.sources.base import sources
from carrossel.config import validate
from carrossel.errors import ConfigError

SAMPLE = {"kind": "sample", "name": "google"}


@pytest.mark.parametrize(
    ("text", "length"), [("30s", 30 * 10**9), ("1min", 60 * 10**9), ("4h", 4 * 3600 * 10**9), ("1d", 86400 * 10**9)]
)
def test_an_interval_is_read_and_written_alike(text: str, length: int) -> None:
    assert nanoseconds(text) == length
    assert written(length) == text


@pytest.mark.parametrize("text", ["", "h", "1", "1w", "-1h", "1.5h"])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="isn't an interval"):
        nanoseconds(text)


def test_a_dataset_knows_the_length_of_its_canonical_bars() -> None:
    assert validate({"source": SAMPLE, "interval": "1h"}, Dataset, "d").bar_interval == "1h"
    assert validate({"source": SAMPLE, "interval": "1h", "resample": "1d"}, Dataset, "d").bar_interval == "1d"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"source": {"kind": "smaple"}, "interval": "1h"},
            r"'smaple' doesn't exist. Choose one of: binance, .*csv, .*sample, synthetic",
        ),
        ({"source": "bitcoin", "interval": "1h"}, "expected a mapping with a kind"),
        (
            {"source": {"kind": "sample", "name": "gogle"}, "interval": "1h"},
            r"d.source.name = 'gogle': input should be",
        ),
        (
            {"source": {**SAMPLE, "file": 1}, "interval": "1h"},
            "d.source.file = 1: unknown key; allowed keys: kind, name",
        ),
        ({"source": SAMPLE, "interval": "1 hour"}, "d.interval = '1 hour'"),
        ({"source": SAMPLE, "interval": "1h", "resample": "90min"}, "must be a longer whole multiple of interval '1h'"),
        ({"source": SAMPLE, "interval": "1h", "resample": "1h"}, "must be a longer whole multiple"),
        ({"source": SAMPLE, "interval": "1d", "price": "mean"}, "needs resample"),
        ({"source": SAMPLE, "interval": "1d", "resample": "5d", "calendar": "XNYS"}, "at most 1d"),
        ({"source": SAMPLE}, "d.interval is missing"),
    ],
)
def test_a_wrong_dataset_is_named_with_key_value_and_what_is_allowed(values: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(values, Dataset, "d")


def test_only_the_named_source_is_imported() -> None:
    module = "carrossel.bars.sources.synthetic"
    kept = sys.modules.pop(module, None)
    try:
        validate({"source": SAMPLE, "interval": "1d"}, Dataset, "d")
        assert module not in sys.modules
    finally:
        if kept is not None:
            sys.modules[module] = kept


def test_the_schema_for_editors_lists_every_kind_of_source() -> None:
    options = Dataset.model_json_schema()["properties"]["source"]["oneOf"]

    assert [option["properties"]["kind"]["const"] for option in options] == list(sources.kinds())


def test_a_dataset_is_written_with_all_keys_of_its_source() -> None:
    dataset = validate({"source": SAMPLE, "interval": "1d"}, Dataset, "d")

    assert dataset.model_dump()["source"] == SAMPLE


def test_fills_are_bounded() -> None:
    with pytest.raises(ConfigError, match="longest_fill = -1"):
        validate({"longest_fill": -1}, Repair, "bars")
