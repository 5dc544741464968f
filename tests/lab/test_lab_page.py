"""The lab's page: sentences that claim what was measured, and a page that lives with missing parts."""

from __future__ import annotations

import json
import re
import runpy

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from carrossel.errors import LabError, ModelError
from carrossel.lab.page.comparing import Relation, Row, compare, pass_exams, relate
from carrossel.lab.page.figures import draw_error, draw_kept, draw_saturation
from carrossel.lab.page.reading import Gate, Network, read_all, read_exams, read_inside, read_networks
from carrossel.lab.page.sentences import format_power, tell_error, tell_exams, tell_gates, tell_skill

LAGS = 12


def write_network(root, name, per_bar, *, dataset="bitcoin", memory=True, new=True):
    """A model folder whose error fades by `per_bar` per bar at the epoch kept, 0, and not at all at the next."""
    folder = root / "models" / dataset / name
    folder.mkdir(parents=True)
    manifest = {"best_epoch": 0, "cell": {"kind": name}, "parameters": 7}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    pd.DataFrame(
        [
            {
                "epoch": epoch,
                "layer": 0,
                "lag": lag,
                "h": 2 * rate**lag,
                "c": 3 * rate**lag if memory else None,
            }
            for epoch, rate in enumerate((per_bar, 1.0))
            for lag in range(LAGS)
        ]
    ).to_csv(folder / "gradient_by_lag.csv", index=False)
    (folder / "spectrum.csv").write_text(
        "epoch,layer,gate,spectral_radius,largest_singular_value\n0,0,a,0.5,1\n0,0,b,0.9,1\n1,0,a,3,3\n"
    )
    if new:
        kept = pd.DataFrame({"epoch": 0, "layer": 0, "lag": range(LAGS), "kept": 0.5 ** np.arange(LAGS)})
        gates = pd.DataFrame(
            {"epoch": 0, "layer": 0, "gate": ["forget"] * 2, "unit": [0, 1], "shut": [0.0, 0.2], "open": [1.0, 0.5]}
        )
        for table, file in ((kept, "kept.csv"), (gates, "gates.csv")):
            (table if memory else table[:0]).to_csv(folder / file, index=False)
        pd.DataFrame({"epoch": 0, "lag": range(LAGS), "norm": 0.7 ** np.arange(LAGS)}).to_csv(
            folder / "sensitivity.csv", index=False
        )
    return folder


def write_evaluation(root, skills, dataset="bitcoin"):
    file = root / "reports" / "evaluation" / f"{dataset}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = {name: {"skill": skill} for name, skill in skills.items()}
    judgements = {
        name: {"verdict": "beats persistence" if skill > 0.1 else "no evidence of skill"}
        for name, skill in skills.items()
    }
    best = next(iter(skills))
    file.write_text(
        json.dumps({"rows": {"validation": rows, "test": rows}, "judgements": judgements, "best_by_validation": best})
    )


def write_exams(root):
    folder = root / "reports" / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    results = [
        ("lstm", "lstm", "adding", 100, True),
        ("lstm", "lstm", "adding", 400, False),
        ("lstm_chrono", "lstm", "adding", 100, True),
        ("lstm_chrono", "lstm", "adding", 400, True),
        ("rnn", "rnn", "adding", 100, False),
        ("rnn", "rnn", "adding", 400, False),
    ]
    exams = pd.DataFrame(results, columns=["candidate", "cell", "exam", "length", "solved"])
    exams = exams.assign(seed=1, iterations=900, score=0.1, pass_mark=0.01, chance=1 / 6, parameters=9, seconds=1.0)
    exams.to_csv(folder / "exams.csv", index=False)
    return exams


@pytest.fixture
def root(tmp_path):
    write_network(tmp_path, "lstm", 0.9)
    write_network(tmp_path, "rnn", 0.4, memory=False)
    write_evaluation(tmp_path, {"lstm": -0.01, "rnn": 0.02})
    return tmp_path


def test_a_network_is_read_at_the_epoch_kept_by_its_memory_where_it_has_one(root):
    lstm, rnn = read_networks(root / "models" / "bitcoin", {"lstm", "rnn", "gru"})
    assert (lstm.name, lstm.state, rnn.name, rnn.state) == ("lstm", "C", "rnn", "h")
    np.testing.assert_allclose(lstm.gradient, 3 * 0.9 ** np.arange(LAGS))
    np.testing.assert_allclose(rnn.shares, 0.4 ** np.arange(LAGS))
    assert (lstm.radius, lstm.fading.memory, rnn.fading.memory) == (0.9, 12, 8)  # 0.4^7 = .0016, 0.4^8 = .0007
    assert lstm.gates == {"forget": Gate(pytest.approx(0.1), pytest.approx(0.75))}
    assert rnn.gates == {}
    assert rnn.kept is None


def test_a_model_from_before_has_none_of_the_new_tables_and_is_shown_all_the_same(tmp_path):
    write_network(tmp_path, "lstm", 0.9, new=False)
    (lstm,) = read_networks(tmp_path / "models" / "bitcoin", {"lstm"})
    assert (lstm.gates, lstm.kept, lstm.sensitivity) == (None, None, None)
    assert "Train them again" in tell_gates([lstm], LAGS)[0]


def test_exams_are_passed_by_more_than_half_of_the_seeds():
    exams = pd.DataFrame(
        {"candidate": "lstm", "cell": "lstm", "exam": "adding", "length": 100, "solved": [True, False, True]}
    )
    assert pass_exams(exams)["passed"].tolist() == [True]
    assert pass_exams(exams[:2])["passed"].tolist() == [False]


def test_exams_are_told_by_who_passes_most_none_and_what_nobody_passes(tmp_path):
    exams = write_exams(tmp_path)
    said = " ".join(tell_exams(pass_exams(exams)))
    assert said == "Of 2 exams lstm_chrono passes most: 2. rnn passes none."
    without = pass_exams(exams[exams["candidate"] != "lstm_chrono"])
    assert " ".join(tell_exams(without)).endswith("Nobody passes adding of length 400.")


def test_a_row_has_its_own_cells_exams_and_skill(root):
    (found,) = read_all("bitcoin", ["bitcoin", "google"], root, {"lstm", "rnn"})
    lstm, rnn = compare(found, pass_exams(write_exams(root)))
    assert (lstm.passed, lstm.taken, rnn.passed, rnn.taken) == (1, 2, 0, 2)  # lstm's own, not lstm_chrono's
    assert (lstm.test, rnn.test, rnn.verdict) == (-0.01, 0.02, "no evidence of skill")
    assert lstm.per_bar == pytest.approx(0.9)
    assert lstm.half_life == pytest.approx(np.log(2) / -np.log(0.9))


def row(name, half_life, test, verdict="no evidence of skill"):
    return Row(name, 10, half_life, 0.9, 0, 0, test, test, verdict)


def test_that_the_longest_memory_does_not_forecast_best_is_said():
    said = " ".join(tell_skill([row("lstm", 40.0, -0.02), row("rnn", 4.0, 0.01)], None, "bitcoin"))
    assert "The longest memory doesn't bring the highest skill on bitcoin: lstm (half-life 40 bars)" in said
    assert "rnn (half-life 4 bars) has +1 %" in said
    assert "No network beats 'tomorrow = today' here, however long it remembers" in said


def test_that_the_longest_memory_forecasts_best_is_said_too():
    rows = [row("lstm", None, 0.3, "beats persistence"), row("rnn", 4.0, 0.01)]
    said = " ".join(tell_skill(rows, Relation(0.9, 0.001, 8), "bitcoin"))
    assert "lstm remembers longest and has the highest skill on the test part too (+30 %)" in said
    assert "those that remember longer forecast better (Spearman's ρ = +0.90, p = 0.001)" in said
    assert "1 of 2 networks beats 'tomorrow = today' here" in said


def test_a_relation_needs_networks_and_counts_ranks_from_the_longest_memory():
    rows = [row(str(place), 10.0, skill) for place, skill in enumerate((0.5, 0.4, 0.3, 0.2, 0.1))]
    found = relate(rows)
    assert found is not None
    assert found.rho == pytest.approx(1)
    assert relate(rows[:4]) is None
    assert relate([row(str(place), 10.0, 0.1) for place in range(6)]) is None


def test_fading_is_told_as_an_alpha():
    networks = [
        Network("lstm", "lstm", 1, "C", 0.98 ** np.arange(48.0)),
        Network("rnn", "rnn", 1, "h", 0.5 ** np.arange(48.0)),
    ]
    far, fast, whole = tell_error(networks, 48, "bitcoin")
    assert "furthest back in lstm: it fades like α = 0.98 per bar, by half every 34 bars; 39 % of it arrives" in far
    assert "fastest in rnn: it fades like α = 0.50 per bar, by half every bar; 10 of 48 bars" in fast
    assert whole.startswith("In 1 of 2 networks")


@pytest.mark.parametrize(("value", "text"), [(0.51, "0.51"), (8.88e-16, "8.9 × 10⁻¹⁶"), (6.4e8, "6.4 × 10⁸"), (0, "0")])
def test_numbers_far_from_one_are_written_as_powers_of_ten(value, text):
    assert format_power(value) == text


@pytest.mark.parametrize(
    ("lacking", "error", "advice"),
    [
        ("models/bitcoin", ModelError, "dvc repro evaluate@bitcoin"),
        ("reports/evaluation/bitcoin.json", ModelError, "dvc repro evaluate@bitcoin"),
        ("reports/lab/exams.csv", LabError, "dvc repro exams"),
        ("reports/lab/units/units.html", LabError, "dvc repro units"),
    ],
)
def test_a_missing_input_is_named_with_the_stage_that_makes_it(root, lacking, error, advice):
    write_whole_lab(root)
    (root / lacking).rename(root / "away")
    with pytest.raises(error, match=f"Run: {advice}"):
        read_everything(root)


def test_a_memory_that_no_gate_touches_is_said_and_cells_without_gates_have_a_sentence():
    ones = Network("nfg", "nfg", 1, "C", np.ones(48), kept=np.ones(48), gates={})
    lstm = Network("lstm", "lstm", 1, "C", 0.9 ** np.arange(48.0), kept=0.8 ** np.arange(48.0), gates={})
    said = " ".join(tell_gates([ones, lstm], 48))
    assert "Gates alone keep most in lstm: 80 %" in said
    assert "takes anything from the memory of nfg" in said
    rnn = Network("rnn", "rnn", 1, "h", np.ones(48), gates={})
    assert tell_gates([rnn], 48) == ["None of these networks has gates."]


def test_a_broken_table_is_named(root):
    (root / "models" / "bitcoin" / "lstm" / "kept.csv").write_text("epoch,lag\n0,0\n")
    with pytest.raises(ModelError, match=r"kept\.csv lacks kept\. Run: dvc repro --force train@bitcoin-lstm"):
        read_networks(root / "models" / "bitcoin", {"lstm"})


def write_whole_lab(root):
    write_exams(root)
    lab = root / "reports" / "lab"
    pd.DataFrame(columns=["candidate", "exam", "length"]).to_csv(lab / "exam_curves.csv", index=False)
    for part in ("units", "text"):
        (lab / part).mkdir(parents=True)
        (lab / part / f"{part}.html").write_text("<p>")


def read_everything(root):
    read_all("bitcoin", ["bitcoin"], root, {"lstm", "rnn"})
    read_exams(root / "reports" / "lab")
    read_inside(root / "reports" / "lab")


@pytest.fixture
def quick(monkeypatch):
    """Drawing, and what torch compiles for a first Jacobian, take most of a page's time."""
    monkeypatch.setattr("carrossel.lab.hochreiter.experiment.lyapunov_exponents", lambda *rest: np.zeros(3))
    monkeypatch.setattr("carrossel.lab.page.rendering.render_png", lambda figure, dpi: b"png")
    monkeypatch.setattr("carrossel.lab.page.rendering.draw_experiment", lambda *rest: Figure())


@pytest.mark.usefixtures("quick")
def test_the_stage_writes_a_page_that_needs_nothing_else(root, project):
    write_network(root, "lstm", 0.9, dataset="google", new=False)
    write_evaluation(root, {"lstm": 0.2}, dataset="google")
    write_whole_lab(root)
    units = root / "reports" / "lab" / "units"
    (units / "return.png").write_bytes(b"other")
    (units / "volatility.png").write_bytes(b"unit")  # further beyond its control: shown
    (units / "ranking.csv").write_text("unit,quantity,correlation,control\n4,return,0.9,-0.9\n1,volatility,-0.8,0.3\n")
    params = {
        "datasets": {"bitcoin": {}, "google": {}},
        "cells": {"lstm": {}, "rnn": {}, "gru": {}},
        "lab": {"hochreiter": {"steps": 3, "hidden_size": 4, "sequences": 2}},
    }
    (project / "params.yaml").write_text(json.dumps(params))
    runpy.run_path(str(project / "pipeline" / "lab.py"))["build"]()
    lab = root / "reports" / "lab"
    page = (lab / "lab.html").read_text()
    assert set(re.findall(r'(?:src|href)="([^"]+)"', page)) - {"units/units.html", "text/text.html"} == {
        "data:image/png;base64,cG5n",
        "data:image/png;base64,dW5pdA==",
    }
    assert "“tomorrow = today”" in page
    assert "On bitcoin error reaches furthest back in lstm" in page
    assert page.index("How does error travel") < page.index("What do gates do") < page.index("Which cell remembers")
    pictures = {file.stem for file in (lab / "figures").iterdir()}
    assert {
        "error",
        "kept",
        "saturation",
        "sensitivity",
        "memory_and_skill_bitcoin",
        "memory_and_skill_google",
    } <= pictures
    written = pd.read_csv(lab / "hochreiter.csv")
    assert list(written) == ["network", "alpha", "lag", "gradient", "theory"]
    assert len(written) == 2 * 5 * 4


def test_figures_have_a_row_or_a_panel_for_each_network(root):
    networks = read_networks(root / "models" / "bitcoin", {"lstm", "rnn"})
    labels = [label.get_text() for label in draw_error(networks, "bitcoin").axes[0].get_yticklabels()]
    assert labels == ["lstm", "rnn"]
    kept, saturation = draw_kept(networks, "bitcoin"), draw_saturation(networks, "bitcoin")
    assert [axes.get_title(loc="left") for axes in kept.axes] == ["lstm"]  # rnn keeps nothing
    assert [axes.get_title(loc="left") for axes in saturation.axes] == ["forget gate"]
