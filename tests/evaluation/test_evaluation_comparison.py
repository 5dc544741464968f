from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from evaluation_models import LAST_CLOSE, make_forecasts

from carrossel.errors import ModelError
from carrossel.evaluation.comparison.contest import Contest, read_contest
from carrossel.evaluation.comparison.figures import draw_forecast, draw_skill
from carrossel.evaluation.comparison.page import render_report, summarise_quality, tabulate_scores
from carrossel.evaluation.comparison.summary import collect_metrics, select_gradient, tabulate_plots
from carrossel.evaluation.competitors import read_competitors
from carrossel.evaluation.figures import render_png
from carrossel.evaluation.scoring import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HALF = [11.0, 11.5, 11.0, 12.5]
WORSE = [11.0, 13.0, 12.0, 12.0]


QUALITY = {
    "bars": {
        "rows": 12345,
        "first": "2020-01-01 00:00",
        "last": "2021-05-29 08:00",
        "interval": "1h",
        "missing": 4,
        "filled": 1,
    },
    "calendar": "24/7",
    "gaps": {"count": 2},
    "findings": [
        {"title": "Bad prints", "count": 1200, "repair": "set missing", "examples": [{}]},
        {"title": "Copies", "count": 0, "repair": "none"},
    ],
    "source": {"kind": "sample", "licence": "Apache-2.0", "cleaning": ["much"]},
}


@pytest.fixture
def contest(write_competitor: Callable[..., Path], tmp_path: Path) -> Contest:
    write_competitor("gru", make_forecasts(HALF, WORSE))
    write_competitor("lstm", make_forecasts(LAST_CLOSE, HALF))
    return _score(tmp_path, "toy")


def _score(root: Path, dataset: str, quality: dict[str, object] | None = None) -> Contest:
    reports = root / "reports"
    for folder in ("evaluation", "quality"):
        (reports / folder).mkdir(parents=True, exist_ok=True)
    evaluation = evaluate(dataset, read_competitors(root / "models" / dataset))
    (reports / "evaluation" / f"{dataset}.json").write_text(json.dumps(evaluation))
    if quality:
        (reports / "quality" / f"{dataset}.json").write_text(json.dumps(quality))
    return read_contest(dataset, root / "models", reports)


def test_metrics_are_of_the_test_part_with_persistence_among_them(contest: Contest) -> None:
    metrics = collect_metrics([contest])
    assert set(metrics["toy"]) == {"persistence", "gru", "lstm"}
    assert metrics["toy"]["gru"]["skill"] == pytest.approx(1 - 10 / 14)


def test_plot_tables_have_a_column_per_competitor(contest: Contest) -> None:
    tables = tabulate_plots([contest])
    assert set(tables) == {"skill", "gradient_by_lag_toy", "validation_loss_toy"}
    assert tables["skill"][["competitor", "test"]].to_numpy().tolist() == [
        ["gru", pytest.approx(1 - 10 / 14)],
        ["lstm", pytest.approx(0.75)],
    ]
    assert list(tables["gradient_by_lag_toy"]) == ["lag", "gru", "lstm"]
    assert tables["validation_loss_toy"]["gru"].tolist() == [1.5, 1.25]


def test_the_gradient_is_of_the_lowest_layer() -> None:
    table = pd.DataFrame({"epoch": [0, 0, 1, 1], "layer": [0, 1, 0, 1], "lag": 0, "h": [1.0, 2.0, 3.0, 4.0]})
    assert select_gradient(table, last=False).tolist() == [1.0]
    assert select_gradient(table, last=True).tolist() == [3.0]


def test_the_table_puts_persistence_first_and_marks_the_best(contest: Contest) -> None:
    rows = tabulate_scores(contest)
    assert [row["name"] for row in rows] == ["persistence", "gru", "lstm"]
    assert [row["best"] for row in rows] == [False, True, False]
    assert rows[0]["skill"] == "0 %"
    assert rows[0]["directional_accuracy"] == "–"
    assert rows[1]["skill"] == "+28.57 %"
    assert rows[1]["rmse"] == "1.5811"  # √(10/4), five digits as the largest of the column


def test_the_report_needs_no_other_file(contest: Contest) -> None:
    page = render_report([contest])
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert "url(" not in page
    assert "<script" not in page


def test_the_report_is_well_formed_and_tells_things_in_order(contest: Contest) -> None:
    page = render_report([contest])
    seen = _Outline()
    seen.feed(page)
    assert not seen.open
    assert seen.headings == [
        "Scores",
        "Forecast against truth",
        "How far back the gradient reaches",
        "Learning curves",
        "What gets registered",
        "Where this comes from",
    ]
    assert "gru, chosen on validation, beats “tomorrow = today” on toy by 29 % in squared error" in page
    assert "ab" * 32 in page
    assert "c0de" in page


def test_what_a_file_says_is_escaped(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    write_competitor("gru", code_revision="<script>alert(1)</script>")
    page = render_report([_score(tmp_path, "toy", {**QUALITY, "source": {"licence": "<i>free</i>"}})])
    assert "<script" not in page
    assert "&lt;i&gt;free" in page
    assert "<i>free" not in page


def test_the_report_is_the_same_bytes_for_the_same_inputs(contest: Contest) -> None:
    assert render_report([contest]) == render_report([contest])
    assert render_png(draw_skill([contest])) == render_png(draw_skill([contest]))


def test_a_skill_far_below_the_others_is_drawn_at_the_edge_with_its_number(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("gru", "lstm", "peephole"):
        write_competitor(name, make_forecasts(HALF, HALF))
    write_competitor("rnn", make_forecasts(HALF, [value + 1000 for value in LAST_CLOSE]))
    axes = draw_skill([_score(tmp_path, "toy")]).axes[0]
    assert axes.get_xlim()[0] > -10
    assert any(text.get_text().startswith("−28,") for text in axes.texts)  # 1 − 4·10⁶/14 and a little, in percent


def test_one_dataset_with_one_competitor_of_one_epoch_is_enough(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_competitor("gru")
    pd.DataFrame({"epoch": [0], "train_loss": [1.0], "validation_loss": [1.0]}).to_csv(
        folder / "history.csv", index=False
    )
    pd.DataFrame({"epoch": 0, "layer": 0, "lag": [0, 1], "h": [1.0, 0.0]}).to_csv(
        folder / "gradient_by_lag.csv", index=False
    )
    assert "None of the 1 competitor" not in render_report([_score(tmp_path, "toy")])


def test_no_line_is_drawn_across_a_hole_in_the_forecasts(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    forecasts = make_forecasts(HALF, HALF)
    late = forecasts.index.isin([3, 7])
    for column in ("origin", "time"):
        forecasts.loc[late, column] += pd.Timedelta(days=30)
    write_competitor("gru", forecasts)
    axes = draw_forecast(_score(tmp_path, "toy")).axes[0]
    assert np.isnan(axes.lines[0].get_ydata()).tolist() == [False, False, False, True, False]


def test_quality_is_summed_up_in_lines_and_of_findings_those_that_found_something() -> None:
    assert summarise_quality(QUALITY) == [
        ("bars", "12,345 from 2020-01-01 00:00 to 2021-05-29 08:00 UTC, every 1h (24/7)"),
        ("gaps", "2: 4 bars missing, 1 filled with the last close"),
        ("Bad prints", "1,200, set missing"),
        ("licence", "Apache-2.0"),
    ]
    assert summarise_quality({}) == []


def test_a_missing_evaluation_says_what_to_run(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    write_competitor("gru")
    with pytest.raises(ModelError, match=r"toy.json doesn't exist. Run dvc repro evaluate@toy"):
        read_contest("toy", tmp_path / "models", tmp_path / "reports")


@pytest.mark.parametrize("text", ["{", "[]", "{}", ""])
def test_a_broken_evaluation_says_what_to_run(text: str, contest: Contest, tmp_path: Path) -> None:
    (tmp_path / "reports" / "evaluation" / "toy.json").write_text(text)
    with pytest.raises(ModelError, match=r"isn't an evaluation.*Run dvc repro evaluate@toy"):
        read_contest("toy", tmp_path / "models", tmp_path / "reports")


def test_an_evaluation_of_other_models_is_refused(
    contest: Contest, write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    write_competitor("rnn")
    with pytest.raises(ModelError, match=r"don't name the same competitors \(rnn\)"):
        read_contest("toy", tmp_path / "models", tmp_path / "reports")


class _Outline(HTMLParser):
    """Tags that were not closed, and the text of h2 headings."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
