"""The cell lab's section of the report: numbers from tables, sentences from numbers."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from carrossel.errors import ModelError
from carrossel.evaluation.comparison.lab.figures import draw_gates, draw_lab, draw_listening, draw_memory
from carrossel.evaluation.comparison.lab.memories import Memory, read_memory
from carrossel.evaluation.comparison.lab.sentences import bars, tell_gates, tell_gradient, tell_kept, tell_sensitivity
from carrossel.evaluation.comparison.lab.tables import tabulate_memories

if TYPE_CHECKING:
    from pathlib import Path

LAGS = np.arange(16)
# fades by a half each bar, and by a half each four bars; the gates of the second alone by a half each two
RNN = Memory(gradient=0.5**LAGS, sensitivity=0.1**LAGS, gates={}, radius=0.9)
LSTM = Memory(
    gradient=3 * 0.5 ** (LAGS / 4),
    kept=0.5 ** (np.arange(17) / 2),
    sensitivity=np.ones(16),
    gates={"forget": (0.0, 0.5), "output": (0.25, 0.0)},
    radius=1.25,
)
BOTH = {"rnn": RNN, "lstm": LSTM}
OLD = Memory(gradient=0.5**LAGS, radius=1.0)


def write_tables(folder: Path) -> Path:
    """Two layers, two epochs; epoch 0 is the kept one."""
    folder.mkdir()
    rows = [(epoch, layer, lag) for epoch in (0, 1) for layer in (0, 1) for lag in (0, 1)]
    table = pd.DataFrame(rows, columns=["epoch", "layer", "lag"])
    shrink = 0.25 ** table["lag"] * (1 + table["epoch"] + 10 * table["layer"])
    table.assign(h=9.0, c=shrink).to_csv(folder / "gradient_by_lag.csv", index=False)
    table.assign(kept=0.5 ** table["lag"] / (1 + table["layer"])).to_csv(folder / "kept.csv", index=False)
    pd.DataFrame({"epoch": [0, 0, 1, 1], "lag": [1, 0, 0, 1], "norm": [1.0, 9.0, 1.0, 1.0]}).to_csv(
        folder / "sensitivity.csv", index=False
    )
    gates = {
        "epoch": [0, 0, 1],
        "layer": 0,
        "gate": "forget",
        "unit": [0, 1, 0],
        "shut": [0.25, 0, 1],
        "open": [0, 0.5, 0],
    }
    pd.DataFrame(gates).to_csv(folder / "gates.csv", index=False)
    spectrum = {
        "epoch": [0, 0, 1],
        "layer": 0,
        "gate": ["forget", "input", "forget"],
        "spectral_radius": [0.5, 0.75, 9.0],
    }
    pd.DataFrame(spectrum).to_csv(folder / "spectrum.csv", index=False)
    return folder


def test_tables_are_read_at_the_kept_epoch_in_the_lowest_layer_along_c(tmp_path: Path) -> None:
    memory = read_memory(write_tables(tmp_path / "lstm"), epoch=0)
    assert memory.gradient.tolist() == [1.0, 0.25]
    assert memory.kept.tolist() == [1.0, 0.5]
    assert memory.sensitivity.tolist() == [9.0, 1.0]
    assert memory.gates == {"forget": (0.125, 0.25)}
    assert memory.radius == 0.75
    assert (memory.reach, memory.gradient_half, memory.kept_half, memory.listens) == (2, 0.5, 1.0, 1)


@pytest.mark.parametrize("c", ["", "0.0"])
def test_without_an_error_in_c_the_memory_is_followed_along_h(c: str, tmp_path: Path) -> None:
    folder = write_tables(tmp_path / "gru")
    (folder / "gradient_by_lag.csv").write_text(f"epoch,layer,lag,h,c\n0,0,0,4.0,{c}\n0,0,1,1.0,{c and 0.5}\n")
    assert read_memory(folder, epoch=0).gradient.tolist() == [4.0, 1.0]


def test_an_epoch_that_was_not_measured_is_the_last_one(tmp_path: Path) -> None:
    assert read_memory(write_tables(tmp_path / "lstm"), epoch=7).radius == 9.0


def test_models_of_before_and_tables_without_rows_have_what_they_have(tmp_path: Path) -> None:
    folder = write_tables(tmp_path / "gru")
    for name in ("sensitivity", "gates", "kept"):
        (folder / f"{name}.csv").unlink()
    old = read_memory(folder, epoch=0)
    assert (old.gates, old.listens, old.kept_half, old.shut) == (None, None, None, None)
    assert old.reach == 2
    for file in folder.iterdir():
        file.write_text(file.read_text().splitlines()[0] + "\n")
    off = read_memory(folder, epoch=0)
    assert (off.reach, off.gradient_half, off.radius) == (None, None, None)
    assert draw_lab({"gru": off}, "toy") == {}
    assert tell_gradient({"gru": off}) == "Not measured: training.diagnose_every was 0."


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    folder = write_tables(tmp_path / "lstm")
    (folder / "kept.csv").write_text("epoch,layer,lag\n")
    with pytest.raises(ModelError, match=r"kept\.csv has no column kept"):
        read_memory(folder, epoch=0)


def test_the_table_has_the_longest_memory_first_and_dashes_for_what_is_not_there() -> None:
    lstm, old, rnn = tabulate_memories({"rnn": RNN, "lstm": LSTM, "old": OLD})
    assert lstm == {
        "name": "lstm",
        "reach": "16",
        "gradient_half": "4.0",
        "kept_half": "2.0",
        "listens": "15",
        "shut": "12.5 %",
        "open": "25.0 %",
        "radius": "1.25",
    }
    assert [rnn[key] for key in ("reach", "gradient_half", "kept_half", "listens", "shut")] == [
        "10",
        "1.0",
        "–",
        "1",
        "–",
    ]
    assert old["listens"] == "–"


def test_sentences_say_the_numbers_of_the_figures() -> None:
    assert tell_gradient(BOTH) == (
        "rnn's gradient has halved after 1.0 bars; lstm's after 4.0 bars. Of 2 networks 1 has more than 0.1 % left at lag 15, "
        "the window's first bar."
    )
    assert tell_kept(BOTH) == (
        "By its gates alone lstm keeps half of what it holds for 2.0 bars; lstm's gradient halves after 4.0 bars: detours "
        "through h carry some of it further."
    )
    assert (
        tell_sensitivity(BOTH)
        == "90 % of what moves rnn's forecast lies in the last 1 bar; lstm's takes 15, of 16 in the window."
    )
    assert tell_gates(BOTH) == (
        "Open most often is lstm's forget gate: above 0.9 in 50.0 % of cases. Shut most often is lstm's output gate: below 0.1 "
        "in 25.0 %."
    )


def test_what_never_halves_and_gates_that_never_close_are_said_so() -> None:
    still = Memory(gradient=np.ones(4), kept=np.array([1.0, 0.5]), gates={"update": (0.01, 0.02)})
    assert tell_gradient({"irnn": still}).startswith("Within the window irnn's gradient never halves.")
    assert "doesn't halve at all" in str(tell_kept({"irnn": still}))
    assert tell_gates({"gru": still}) == (
        "No gate acts as a switch: none is shut in more than 1.0 % of cases or open in more than 2.0 %."
    )
    slim = Memory(gradient=0.5 ** (LAGS / 2), kept=0.5**LAGS, gates={})  # no W_hh, as in mingru
    assert str(tell_kept({"mingru": slim})).endswith(
        "no gate sees h, so the units that keep longest make up most of it."
    )
    assert (tell_kept({"rnn": RNN}), tell_sensitivity({"old": OLD}), tell_gates({"rnn": RNN})) == (None, None, None)


@pytest.mark.parametrize(("number", "text"), [(1.26, "1.3 bars"), (14.2, "14 bars"), (9.96, "10 bars")])
def test_bars_have_two_digits(number: float, text: str) -> None:
    assert bars(number) == text


def test_every_network_has_its_panel_its_row_and_its_bars() -> None:
    memory = draw_memory(BOTH, "toy")
    assert [axes.get_title(loc="left") for axes in memory.axes] == [
        "lstm\nhalved after 4.0 bars",
        "rnn\nhalved after 1.0 bars",
    ]
    assert memory.axes[0].lines[1].get_ydata()[4] == pytest.approx(0.5)
    listening = draw_listening(BOTH, "toy").axes[0]
    assert [tick.get_text() for tick in listening.get_yticklabels()] == ["lstm", "rnn"]
    forget, output = draw_gates(BOTH, "toy").axes
    assert (forget.get_title(loc="left"), output.get_title(loc="left")) == ("forget", "output")
    assert [patch.get_width() for patch in forget.patches] == [0.0, 0.5, 0.5]


def test_twenty_four_networks_fit_on_each_figure() -> None:
    many = {f"peephole_variant_{n}": (LSTM, RNN, OLD)[n % 3] for n in range(24)}
    figures = draw_lab(many, "toy")
    assert list(figures) == ["memory", "listening", "gates"]
    panels = figures["memory"].axes
    assert len(panels) == 24
    assert {axes.get_subplotspec().get_gridspec().get_geometry() for axes in panels} == {(6, 4)}
    for figure, rows in (figures["memory"], 6 * 7), (figures["listening"], 16), (figures["gates"], 8):
        assert figure.get_size_inches()[1] > 0.25 * rows  # names of 10 points one beneath another


def test_the_lab_needs_no_torch() -> None:
    code = "import sys, carrossel.evaluation.comparison.lab.figures; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
