from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from evaluation_models import (
    LAST_CLOSE,
    baseline_writer,
    competitor_writer,
    make_forecasts,
    make_forecasts_that_know,
    make_walk_forward,
)

from carrossel.errors import ModelError
from carrossel.evaluation.comparison.contest import Contest, read_contest
from carrossel.evaluation.comparison.figures import draw_skill
from carrossel.evaluation.comparison.forecasts.figures import draw_echo, draw_forecast
from carrossel.evaluation.comparison.page import render_report, summarise_quality
from carrossel.evaluation.comparison.summary import collect_metrics, select_gradient, tabulate_plots
from carrossel.evaluation.comparison.tables import tabulate_horizons, tabulate_scores, tabulate_walk_forward
from carrossel.evaluation.competitors import read_competitors
from carrossel.evaluation.figures import render_png
from carrossel.evaluation.scoring import evaluate
from carrossel.evaluation.walk_forward.figures import draw_coverage_by_fold, draw_skill_by_fold
from carrossel.evaluation.walk_forward.rows import read_walk_forward

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


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Contest:
    """The same as `contest`, for tests that change no file."""
    tmp_path = tmp_path_factory.mktemp("toy")
    write_competitor = competitor_writer(tmp_path)
    write_competitor("gru", make_forecasts(HALF, WORSE))
    write_competitor("lstm", make_forecasts(LAST_CLOSE, HALF))
    return _score(tmp_path, "toy")


@pytest.fixture(scope="module")
def page(toy: Contest) -> str:
    return render_report([toy])


@pytest.fixture(scope="module")
def three_questions(tmp_path_factory: pytest.TempPathFactory) -> list[Contest]:
    """A price, a log variance and a probability, each with two networks, two baselines and a walk-forward."""
    tmp_path = tmp_path_factory.mktemp("three_questions")
    write_competitor, write_baseline = competitor_writer(tmp_path), baseline_writer(tmp_path)
    contests = []
    for dataset, unit in (("toy", "price"), ("toy_volatility", "log_variance"), ("toy_direction", "probability")):
        question = {"dataset": dataset, "unit": unit}
        write_competitor("gru", make_forecasts_that_know(0.05, unit), **question)
        write_competitor("lstm", make_forecasts_that_know(-0.05, unit), **question)
        write_baseline("ar", make_forecasts_that_know(0.02, unit), **question)
        write_baseline("linear", make_forecasts_that_know(0.01, unit), **question)
        walk = tmp_path / f"{dataset}.parquet"
        make_walk_forward({"gru": {1: 0.04, 2: 0.06}, "ar": {0: 0.02}}, unit).to_parquet(walk, index=False)
        contests.append(_score(tmp_path, dataset, walk=walk))
    return contests


def _score(root: Path, dataset: str, quality: dict[str, object] | None = None, walk: Path | None = None) -> Contest:
    reports = root / "reports"
    for folder in ("evaluation", "quality"):
        (reports / folder).mkdir(parents=True, exist_ok=True)
    competitors = read_competitors(root / "models" / dataset)
    evaluation = evaluate(dataset, competitors, read_walk_forward(walk) if walk else None)
    (reports / "evaluation" / f"{dataset}.json").write_text(json.dumps(evaluation, sort_keys=True))
    if quality:
        (reports / "quality" / f"{dataset}.json").write_text(json.dumps(quality))
    return read_contest(dataset, root / "models", reports)


def test_metrics_are_of_the_test_part_with_persistence_among_them(toy: Contest) -> None:
    metrics = collect_metrics([toy])
    assert set(metrics["toy"]) == {"persistence", "gru", "lstm"}
    assert metrics["toy"]["gru"]["skill"] == pytest.approx(1 - 10 / 14)


def test_plot_tables_have_a_column_per_competitor(toy: Contest) -> None:
    tables = tabulate_plots([toy])
    assert set(tables) == {"skill", "gradient_by_lag_toy", "validation_loss_toy"}
    assert tables["skill"][["competitor", "test"]].to_numpy().tolist() == [
        ["gru", pytest.approx(1 - 10 / 14)],
        ["lstm", pytest.approx(0.75)],
    ]
    assert list(tables["gradient_by_lag_toy"]) == ["lag", "gru", "lstm"]
    assert tables["validation_loss_toy"]["gru"].tolist() == [1.5, 1.25]


def test_plot_tables_tell_baselines_apart_and_draw_no_gradient_of_them(three_questions: list[Contest]) -> None:
    tables = tabulate_plots(three_questions)
    prices = tables["skill"][tables["skill"]["dataset"] == "toy"]
    assert prices[["competitor", "kind"]].to_numpy().tolist() == [
        ["gru", "network"],
        ["lstm", "network"],
        ["ar", "baseline"],
        ["linear", "baseline"],
    ]
    assert (prices["lower"] <= prices["test"] + 1e-12).all()  # the interval of one and the same skill in every row
    assert list(tables["gradient_by_lag_toy"]) == ["lag", "gru", "lstm"]
    assert list(tables["validation_loss_toy_volatility"]) == ["epoch", "gru", "lstm"]


def test_the_gradient_is_of_the_lowest_layer() -> None:
    table = pd.DataFrame({"epoch": [0, 0, 1, 1], "layer": [0, 1, 0, 1], "lag": 0, "h": [1.0, 2.0, 3.0, 4.0]})
    assert select_gradient(table, last=False).tolist() == [1.0]
    assert select_gradient(table, last=True).tolist() == [3.0]


def test_the_table_puts_persistence_first_and_marks_the_best(toy: Contest) -> None:
    table = tabulate_scores(toy)
    rows = table["rows"]
    assert table["titles"] == ["RMSE", "MAE", "MASE", "direction", "corr.", "R²"]
    assert [row["name"] for row in rows] == ["persistence", "gru", "lstm"]
    assert [row["best"] for row in rows] == [False, True, False]
    assert rows[0]["skill"] == "0 %"
    assert rows[0]["metrics"][3] == "–"
    assert rows[1]["skill"] == "+28.57 %"
    assert rows[1]["metrics"][0] == "1.5811"  # √(10/4), five digits as the largest of the column


def test_baselines_come_after_the_networks_and_every_row_has_its_verdict(three_questions: list[Contest]) -> None:
    rows = tabulate_scores(three_questions[0])["rows"]
    assert [(row["name"], row["kind"]) for row in rows] == [
        ("persistence", "reference"),
        ("gru", "network"),
        ("lstm", "network"),
        ("ar", "baseline"),
        ("linear", "baseline"),
    ]
    assert re.fullmatch(r"beats persistence \(p = 0\.\d+\)", rows[1]["verdict"])
    assert rows[1]["interval"] == "+9.75 … +9.75"
    assert rows[2]["verdict"] == "echo"
    assert rows[0]["verdict"] == "–"


def test_each_unit_has_the_columns_that_make_sense(three_questions: list[Contest]) -> None:
    _, volatility, direction = (tabulate_scores(contest) for contest in three_questions)
    assert volatility["titles"] == ["RMSE", "MAE", "QLIKE", "corr.", "R²"]
    assert direction["titles"] == ["log loss", "Brier", "direction", "PT p"]
    assert direction["rows"][0]["metrics"] == ["0.6931", "0.2500", "–", "–"]  # ln 2 and ½²
    assert direction["rows"][1]["metrics"][1] == "0.2256"  # 0.475²


def test_bands_are_a_column_only_where_there_are_quantiles(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    far = {"q05": [0.0] * 4, "q95": [13.0] * 4}  # three of four truths are below 13
    write_competitor("gru", make_forecasts(HALF, HALF, quantiles=far))
    write_competitor("lstm", make_forecasts(HALF, HALF))
    contest = _score(tmp_path, "toy")
    table = tabulate_scores(contest)
    assert table["titles"][-1] == "90 % band"
    assert [row["metrics"][-1] for row in table["rows"]] == ["–", "75.0 %", "–"]
    assert "should hold 90 % of what came" in render_report([contest])


def test_horizons_are_a_table_of_their_own_in_order_where_there_are_several(
    write_competitor: Callable[..., Path], contest: Contest, tmp_path: Path
) -> None:
    assert tabulate_horizons(contest) is None
    parts = [make_forecasts_that_know(0.05 * h, horizon=h) for h in (1, 2, 10)]
    write_competitor("gru", pd.concat(parts), dataset="far")
    table = tabulate_horizons(_score(tmp_path, "far"))
    assert table is not None
    assert table["horizons"] == ["1", "2", "10"]
    assert table["rows"][0]["skills"] == ["+9.75 % ✓", "+19.00 % ✓", "+75.00 %"]  # so much that it is suspicious


def test_the_walk_forwards_table_has_a_row_per_model_baselines_last(three_questions: list[Contest]) -> None:
    rows = tabulate_walk_forward(three_questions[0])
    assert [(row["name"], row["kind"], row["best"]) for row in rows] == [
        ("gru", "network", True),
        ("ar", "baseline", False),
    ]
    assert rows[0]["mean_skill"] == "+9.74 %"  # of 1 − 0.96² and 1 − 0.94²
    assert rows[0]["spread"] == "± 2.69"  # their distance / √2
    assert rows[0]["skill"] == "+9.75 %"
    assert rows[1]["spread"] == "–"
    assert rows[0]["coverage"]["own"] == "–"
    assert tabulate_walk_forward(three_questions[2])[0]["coverage"]["split"] == "–"


def test_the_report_states_units_number_tried_and_the_walk_forward(three_questions: list[Contest]) -> None:
    page = render_report(three_questions)
    seen = _Outline()
    seen.feed(page)
    assert not seen.open
    assert "Walk-forward" in seen.headings
    assert "4 tried\n  (2 networks, 2 baselines); p corrected by Holm." in page
    assert "persistence says: up is as likely as not (50 %)" in page
    assert page.count("coverage of conformal intervals by fold") == 2  # not for probabilities
    assert page.count("correlation of forecast moves with true moves by lag") == 2


def test_the_echo_figure_sets_the_chosen_network_beside_persistence(three_questions: list[Contest]) -> None:
    axes = draw_echo(three_questions[0]).axes[0]
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}
    assert {"persistence", "gru (chosen network)", "ar (best baseline)"} <= set(lines)
    assert lines["persistence"].argmax() == 1


def test_skill_is_drawn_with_the_ends_of_its_interval(three_questions: list[Contest]) -> None:
    contest = three_questions[2]
    figure = draw_skill([contest])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["linear", "ar", "lstm", "gru"]  # from the bottom: baselines under the networks
    drawn = [list(line.get_xdata()) for line in figure.axes[0].lines]
    for found in contest.evaluation["judgements"].values():
        assert [found["lower"], found["upper"]] in drawn


def test_folds_are_drawn_at_their_first_bar(three_questions: list[Contest]) -> None:
    lines = {line.get_label(): line for line in draw_skill_by_fold(three_questions[0]).axes[0].lines}
    assert lines["gru (chosen network)"].get_ydata() == pytest.approx([0.0975] * 3)
    days = pd.DatetimeIndex(lines["gru (chosen network)"].get_xdata())
    assert [str(day.date()) for day in days] == ["2020-01-01", "2020-01-21", "2020-02-10"]


def test_coverage_is_drawn_for_split_and_adaptive_and_not_for_probabilities(three_questions: list[Contest]) -> None:
    figure = draw_coverage_by_fold(three_questions[1])
    assert figure is not None
    assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes] == ["split", "adaptive"]
    assert draw_coverage_by_fold(three_questions[2]) is None


def test_the_report_needs_no_other_file(page: str) -> None:
    addresses = re.findall(r'src="([^"]*)"', page)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert re.findall(r'href="([^"]*)"', page) == ["lab/lab.html"]  # which the text says may not be there
    assert "url(" not in page
    assert "<script" not in page
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page


def test_the_report_is_well_formed_and_tells_things_in_order(page: str) -> None:
    seen = _Outline()
    seen.feed(page)
    assert not seen.open
    assert seen.headings == [
        "Scores",
        "Forecast against truth",
        "Does it look ahead, or repeat?",
        "How far back the gradient reaches",
        "The cell lab",
        "Learning curves",
        "What gets registered",
        "Where this comes from",
    ]
    assert "gru, chosen on validation, is suspiciously good on toy (skill +29 %): check for leakage." in page
    assert "ab" * 32 in page
    assert "c0de" in page


def test_what_a_file_says_is_escaped(write_competitor: Callable[..., Path], tmp_path: Path) -> None:
    write_competitor("gru", code_revision="<script>alert(1)</script>")
    page = render_report([_score(tmp_path, "toy", {**QUALITY, "source": {"licence": "<i>free</i>"}})])
    assert "<script" not in page
    assert "&lt;i&gt;free" in page
    assert "<i>free" not in page


def test_the_report_is_the_same_bytes_for_the_same_inputs(toy: Contest, page: str) -> None:
    assert render_report([toy]) == page
    assert render_png(draw_skill([toy])) == render_png(draw_skill([toy]))


def test_a_skill_far_below_the_others_is_drawn_at_the_edge_with_its_number(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("gru", "lstm", "peephole"):
        write_competitor(name, make_forecasts(HALF, HALF))
    write_competitor("rnn", make_forecasts(HALF, [value + 1000 for value in LAST_CLOSE]))
    axes = draw_skill([_score(tmp_path, "toy")]).axes[0]
    assert axes.get_xlim()[0] > -10
    assert any("test −28," in text.get_text() for text in axes.texts)  # 1 − 4·10⁶/14 and a little, in percent


def test_a_skill_far_above_the_others_is_drawn_at_the_other_edge(
    write_competitor: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("gru", "lstm", "peephole"):
        write_competitor(name, make_forecasts_that_know(0.005))
    write_competitor("rnn", make_forecasts_that_know(0.9))
    axes = draw_skill([_score(tmp_path, "toy")]).axes[0]
    assert axes.get_xlim()[1] < 0.5
    assert "validation +99 %, test +99 %" in [text.get_text() for text in axes.texts]


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


@pytest.mark.parametrize("text", ["{", "[]", "{}", "", '{"competitors": {}}'])
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
