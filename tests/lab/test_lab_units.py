"""Inside a unit, for prices: formulas by hand, the control, the states, and what the stage leaves."""

import base64
import hashlib
import json
import re
import runpy

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.stats import spearmanr

from carrossel.bars.store import write_bars
from carrossel.cells.unrolling import unroll
from carrossel.config import load_params
from carrossel.errors import ConfigError, TrainingError
from carrossel.evaluation.figures import render_png
from carrossel.forecaster.heads.binned import BinnedConfig
from carrossel.forecaster.network import Network
from carrossel.lab.units import figures, outputs, page
from carrossel.lab.units.config import read_units
from carrossel.lab.units.offline import render_page
from carrossel.lab.units.outputs import write_units
from carrossel.lab.units.page import render_units, tell_skill
from carrossel.lab.units.quantities import (
    QUANTITIES,
    drawdown,
    measure_windows,
    rank_correlations,
    time_since_maximum,
    volatility,
    window_return,
)
from carrossel.lab.units.ranking import rank_units, sign, spread_ranking, summarise_ranking
from carrossel.lab.units.readout import gained_bits, likeliest
from carrossel.lab.units.shuffling import shuffle_bars
from carrossel.lab.units.states import look_inside
from carrossel.lab.units.study import study_units

CLOSES = np.array([[1.0, 4.0, 2.0, 2.0], [1.0, 2.0, 4.0, 8.0]])


@pytest.fixture
def small(project, make_bars):
    """A project whose stage takes a second or two."""
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["windows"].update(lookback=8)
    params["lab"] = {"dataset": "bitcoin", "units": {"hidden_size": 3, "epochs": 1, "bins": 6, "bars": 24}}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    (project / "data" / "bars").mkdir(parents=True)
    write_bars(project / "data" / "bars" / "bitcoin.parquet", make_bars(400, missing=(370, 371)))
    return project


def change(project, **units):
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["lab"]["units"].update(units)
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def test_quantities_of_a_window_are_those_worked_out_by_hand():
    assert window_return(CLOSES) == pytest.approx([np.log(2), np.log(8)])
    assert volatility(CLOSES) == pytest.approx([np.std([np.log(4), -np.log(2), 0]), 0], abs=1e-15)
    assert drawdown(CLOSES).tolist() == [0.5, 0.0]
    assert time_since_maximum(CLOSES).tolist() == [2.0, 0.0]


def test_of_equal_maxima_the_newest_counts():
    assert time_since_maximum(np.array([[3.0, 1.0, 3.0, 2.0]])).tolist() == [1.0]


def test_quantities_look_at_the_windows_own_bars_alone():
    close = np.array([9.0, 1.0, 4.0, 2.0, 2.0, 99.0])
    found = measure_windows(close, 4, np.array([4]))
    assert found[0] == pytest.approx([formula(CLOSES[:1])[0] for formula in QUANTITIES.values()])


def test_rank_correlations_are_spearmans_and_absent_where_nothing_changes():
    rng = np.random.default_rng(0)
    units = rng.normal(size=(30, 2)).round(1)  # with ties
    quantities = np.column_stack([rng.normal(size=30), np.ones(30)])
    found = rank_correlations(units, quantities)
    expected = [spearmanr(units[:, n], quantities[:, 0]).statistic for n in range(2)]
    assert found[:, 0] == pytest.approx(expected, abs=1e-12)  # two ways to sum the same ranks
    assert np.isnan(found[:, 1]).all()


def test_ranking_puts_the_closest_follower_first_and_counts_who_is_beyond_the_control():
    found = np.full((3, 4), np.nan)
    found[:, 0] = [0.2, -0.9, 0.5]
    control = np.zeros((3, 4))
    control[:, 0] = [0.1, 0.3, -0.4]
    ranking = rank_units(found, control)
    assert ranking["unit"][:3].tolist() == [1, 2, 0]
    first = summarise_ranking(ranking)[0]
    assert (first.unit, first.correlation, first.control, first.beyond) == (1, -0.9, 0.4, 2)
    np.testing.assert_array_equal(spread_ranking(ranking, "control"), control)
    assert summarise_ranking(ranking)[1].beyond == 0
    assert [sign(value) for value in (0.0, -0.001, -0.5, np.nan)] == ["+0.00", "+0.00", "−0.50", "–"]


def test_shuffled_bars_have_the_same_moves_in_another_order(make_bars):
    bars = make_bars(60, missing=(40, 41))
    shuffled = shuffle_bars(bars, 20, seed=1)
    pd.testing.assert_frame_equal(shuffled[:20], bars[:20])
    there = bars["status"] == "observed"
    assert (shuffled["status"] == bars["status"]).all()
    assert (shuffled["timestamp"] == bars["timestamp"]).all()
    assert shuffled.loc[~there, "close"].isna().all()

    def returns(frame):
        return np.diff(np.log(frame.loc[there, "close"]))[19:]

    assert np.sort(returns(shuffled)) == pytest.approx(np.sort(returns(bars)), abs=1e-12)  # exp and log round
    assert not np.allclose(returns(shuffled), returns(bars))
    assert shuffled["close"].iloc[-1] == pytest.approx(bars["close"].iloc[-1])
    # a bar's own shape goes with it
    ratio = (shuffled["high"] / shuffled["low"]).to_numpy()
    assert np.sort(ratio[there][20:]) == pytest.approx(np.sort((bars["high"] / bars["low"])[there][20:]))
    assert sorted(shuffled["volume"][there]) == sorted(bars["volume"][there])


def test_shuffling_depends_on_the_seed_alone(make_bars):
    bars = make_bars(40)
    pd.testing.assert_frame_equal(shuffle_bars(bars, 5, 3), shuffle_bars(bars, 5, 3))
    assert not shuffle_bars(bars, 5, 3).equals(shuffle_bars(bars, 5, 4))


@pytest.mark.parametrize(("kind", "layers"), [("lstm", 1), ("gru", 2), ("rnn", 1)])
def test_inside_is_what_the_cells_own_run_of_the_window_ends_with(kind, layers):
    config = {"hidden_size": 4, "layers": layers}
    from carrossel.cells import registry

    head = BinnedConfig(kind="binned", bins=6)
    network = Network(kind, registry.load(kind).Config(**config), 2, 1, head).eval()
    series = torch.randn(30, 2, generator=torch.Generator().manual_seed(1))
    found = look_inside(network, series, 5, np.array([4, 17]))
    x = torch.stack([series[0:5], series[13:18]]).transpose(0, 1)
    with torch.no_grad():
        for cell in network.cells:
            before = unroll(cell, x[:-1], backend="loop")[1]
            gates = cell.gate_values(cell.project(x[-1:])[0], before)
            x, state = unroll(cell, x, backend="loop")
        chances = network.head(x[-1])[:, 0].softmax(-1)
    expected = state.h if state.c is None else state.c
    assert found.memory == pytest.approx(expected.numpy(), abs=1e-6)  # float32
    assert list(found.gates) == list(gates)
    for name, values in gates.items():
        assert found.gates[name] == pytest.approx(values.numpy(), abs=1e-6)
    assert found.chances == pytest.approx(chances.numpy(), abs=1e-6)


def test_likeliest_are_in_order_and_equal_ones_by_number():
    assert likeliest(np.array([[0.1, 0.3, 0.3, 0.2, 0.1]]), 3).tolist() == [[1, 2, 3]]


def save_some(figure, path):
    """Drawing takes most of the stage's time: two small pictures, and the titles of the others."""
    small = render_png(figure, 30) if path.stem in {"ranking", "return"} else None
    path.write_bytes(small or figure.axes[0].get_title(loc="left").encode())


def test_the_stage_leaves_the_same_bytes_each_time(small, capsys, monkeypatch):
    monkeypatch.setattr(outputs, "save_png", save_some)
    look = runpy.run_path("pipeline/units.py")["look"]
    folder = small / "reports" / "lab" / "units"
    look()
    seen = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    assert sorted(seen) == sorted(["units.html", "ranking.csv", "ranking.png", *(f"{name}.png" for name in QUANTITIES)])
    assert "rank correlation with volatility" in (folder / "volatility.png").read_text()
    # one picture of a unit will do the second time
    monkeypatch.setattr("carrossel.lab.units.outputs.summarise_ranking", lambda table: summarise_ranking(table)[:1])
    look()
    again = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    assert again == {name: seen[name] for name in ("units.html", "ranking.csv", "ranking.png", "return.png")}
    ranking = pd.read_csv(folder / "ranking.csv")
    assert list(ranking.columns) == ["unit", "quantity", "correlation", "control"]
    assert len(ranking) == 3 * len(QUANTITIES)
    assert "epoch 1/1" in capsys.readouterr().out

    html = (folder / "units.html").read_text(encoding="utf-8")
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert not re.findall(r"""(?:src|href)\s*=|url\(|@import|fetch\(""", html)
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[0])
    windows = len(data["closes"])
    assert len(base64.b64decode(data["memory"])) == 2 * 3 * windows
    assert [gate["name"] for gate in data["gates"]] == ["input", "forget", "output"]
    assert len(data["times"]) == len(base64.b64decode(data["came"])) == windows
    joined = np.frombuffer(base64.b64decode(data["joined"]), np.uint8)
    assert joined.sum() == windows - 2  # the first has none before it, and no line crosses the gap


def test_a_cell_without_memory_and_gates_is_shown_by_its_h(small, make_bars, monkeypatch):
    change(small, cell="rnn", options={"layers": 2})
    params = load_params()
    params["windows"]["horizon"] = [3, 24]
    _, recipe = read_units(params)
    assert recipe.windows.horizons == (1,)  # whatever else is forecast: pictures speak of the next bar
    study = study_units(make_bars(400), recipe)
    assert study.symbol == "h"
    assert (study.signal == study.inside.memory).all()
    panels = figures.draw_unit(study, summarise_ranking(study.ranking)[0], 24).axes
    assert [axes.get_ylabel() for axes in panels if "gate" in axes.get_ylabel()] == []
    monkeypatch.setattr(page, "_BUDGET", 500)  # as with many units: the page holds the newest windows that fit
    html = render_units(study)
    assert f"of {len(study.rows):,} windows" in html
    assert 0 <= json.loads(re.findall(r'id="data">(.*?)</script>', html)[0])["start"] < len(study.rows)
    assert "the strips beneath" not in html


def test_a_price_that_never_moves_is_named(small, make_bars):
    bars = make_bars(400)
    bars[["open", "high", "low", "close"]] = 100.0
    _, recipe = read_units(load_params())
    with pytest.raises(TrainingError, match="price of bitcoin doesn't move"):
        study_units(bars, recipe)


def test_a_failing_write_leaves_what_was_there(small, make_bars, monkeypatch, tmp_path):
    folder = tmp_path / "units"
    folder.mkdir()
    (folder / "ranking.csv").write_text("before")
    monkeypatch.setattr("carrossel.lab.units.outputs.draw_ranking", lambda study: 1 / 0)
    _, recipe = read_units(load_params())
    with pytest.raises(ZeroDivisionError):
        write_units(folder, study_units(make_bars(400), recipe), 24)
    assert [file.read_text() for file in folder.iterdir()] == ["before"]


def template_values(name):
    recipe = {"kind": name, "dataset": name, "training": {"seed": 1}}
    return {
        "quantities": [],
        "rows": [],
        "units": 0,
        "windows": 0,
        "shown": 0,
        "lookback": 1,
        "verdict": name,
        "study": {"recipe": recipe, "symbol": "h", "inside": {"gates": []}, "has_memory": False, "moves": []},
    }


def test_no_text_can_end_a_script_or_become_markup():
    hostile = "</script><script>alert(1)</script>"
    html = render_page("carrossel.lab.units", "page", {"text": hostile}, **template_values(hostile))
    assert "<script>alert" not in html
    assert json.loads(re.findall(r'id="data">(.*?)</script>', html)[0]) == {"text": hostile}


def test_numbers_that_are_not_json_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        render_page("carrossel.lab.units", "page", {"x": float("nan")}, **template_values("x"))


@pytest.mark.parametrize(
    ("skill", "bits", "said"),
    [
        (-0.003, 0.2, ["no skill", "−0.30 %", "how far"]),
        (0.0, -0.1, ["no skill", "nothing"]),
        (0.2, 0.1, ["+20.00 %", "luck"]),
    ],
)
def test_the_page_says_whether_the_network_knows_anything(skill, bits, said):
    assert [each for each in said if each not in tell_skill(skill, bits)] == []


def test_bits_are_gained_by_giving_more_than_an_equal_share_to_what_came():
    chances = np.array([[0.5, 0.25, 0.125, 0.125], [0.25, 0.25, 0.25, 0.25]])
    assert gained_bits(chances, np.array([0, 2])) == pytest.approx(0.5)  # the mean of log2(2) and log2(1)
    assert gained_bits(chances, np.array([3, 2])) == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"units": {"hiden_size": 3}}, "lab.units.hiden_size"),
        ({"units": {"options": {"foo": 1}}}, "lab.units.options.foo"),
        ({"units": {"cell": "lstn"}}, "'lstn' doesn't exist"),
        ({"units": {"bins": 1}}, "lab.units.bins = 1"),
        ({"dataset": "bitcoins"}, "lab.dataset = 'bitcoins': no such entry in datasets"),
    ],
)
def test_wrong_keys_are_named(project, wrong, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_units({**load_params(), "lab": wrong})


def test_windows_too_short_for_a_volatility_are_refused(project):
    params = load_params()
    params["windows"]["lookback"] = 2
    with pytest.raises(ConfigError, match="lookback = 2"):
        read_units(params)


def test_the_stretch_on_a_picture_is_the_liveliest():
    signal = np.array([0.0, 0, 0, 1, -1, 0, 0, 0])
    assert figures.liveliest(signal, 2) == slice(3, 5)
    assert figures.liveliest(signal, 9) == slice(0, 8)
