from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np

from carrossel.bars.quality_page import close_curves, coverage, render, summarise


class Tags(HTMLParser):
    """Collects tags, and the addresses that they would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "data", "srcset")]


def parse(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


def test_a_page_shows_counts_repairs_and_gaps_and_loads_nothing(frame: Any, waves: Any, prepared: Any) -> None:
    raw = frame(waves(30)).drop(index=[10, 11, 12])
    raw.loc[5, "close"] = np.nan
    result = prepared(raw.reset_index(drop=True))

    page = render(result.report, result.bars)

    for text in ("30 bars of 1h", "2020-01-01 10:00", "Rows without price", "2020-01-01 05:00", "missing", "filled"):
        assert text in page
    assert parse(page).loaded == []
    assert "script" not in parse(page).tags


def test_text_from_data_is_escaped(frame: Any, waves: Any, prepared: Any) -> None:
    result = prepared(frame(waves(10)))
    result.report["source"] = {"title": "<script>alert(1)</script>", "columns": {"close": "</code><img src=x>"}}
    result.report["dataset"] = "<b>x</b>"

    tags = parse(render(result.report, result.bars)).tags

    assert not {"script", "img", "b"} & set(tags)


def test_the_strip_shows_the_worst_status_of_each_stretch() -> None:
    cells = coverage(np.array([0] * 200 + [0, 2] + [0] * 198 + [1, 0], np.int8))

    assert len(cells) == 200
    assert [cell["status"] for cell in cells].count("missing") == 1
    assert cells[-1]["status"] == "filled"
    assert cells[0] == {"status": "observed", "observed": 1.0}


def test_the_curve_of_closes_breaks_where_bars_are_missing() -> None:
    assert close_curves(np.array([1.0, 2, np.nan, 2, 1])) == ["0.0,160.0 250.0,0.0", "750.0,0.0 1000.0,160.0"]


def test_the_summary_is_one_line_with_every_repair(frame: Any, waves: Any, prepared: Any) -> None:
    raw = frame(waves(30)).drop(index=[10, 11, 12, 20])
    raw.loc[5, "close"] = np.nan

    assert summarise(prepared(raw.reset_index(drop=True)).report) == (
        "25 bars 2020-01-01 00:00 → 2020-01-02 05:00 UTC, 3 missing in 1 gap, 2 filled, rows without price: 1"
    )


def test_page_and_line_say_how_many_older_bars_were_left_out(frame: Any, waves: Any, prepared: Any) -> None:
    result = prepared(frame(waves(30)), newest=12)

    assert "Only the newest 12 are used: 18 older ones are left out" in render(result.report, result.bars)
    assert summarise(result.report).endswith("0 filled, 18 older ones left out")
