"""Hochreiter's experiment against what it must give by theory."""

from __future__ import annotations

import numpy as np
import pytest

from carrossel.config import validate
from carrossel.errors import ConfigError
from carrossel.lab.hochreiter.config import Hochreiter
from carrossel.lab.hochreiter.experiment import measure_exponents, run_experiment
from carrossel.lab.hochreiter.figures import draw_experiment

CONFIG = Hochreiter(hidden_size=6, sequences=2)


@pytest.fixture(scope="module")
def table():
    return run_experiment(CONFIG)


def test_the_linear_networks_gradient_is_the_power_of_alpha_at_every_lag(table):
    linear = table[table["network"] == "linear"]
    assert sorted(set(linear["alpha"])) == [0.5, 0.9, 1.0, 1.1, 1.5]
    assert linear.groupby("alpha")["lag"].max().tolist() == [50] * 5
    np.testing.assert_allclose(linear["gradient"], linear["alpha"] ** linear["lag"], rtol=1e-10)
    assert linear["theory"].tolist() == (linear["alpha"] ** linear["lag"]).tolist()


def test_the_tanh_networks_gradient_stays_under_its_bound(table):
    tanh = table[(table["network"] == "tanh") & (table["lag"] > 0)]
    assert (tanh["gradient"] < tanh["theory"]).all()
    assert (tanh["gradient"] > 0).all()
    start = table[(table["network"] == "tanh") & (table["lag"] == 0)]
    np.testing.assert_allclose(start["gradient"], 1, rtol=1e-12)


def test_every_exponent_of_the_linear_network_is_the_logarithm_of_alpha():
    found = measure_exponents(CONFIG.model_copy(update={"steps": 9}), count=6)
    linear, tanh = (found[found["network"] == name] for name in ("linear", "tanh"))
    assert len(linear) == 5 * 6
    np.testing.assert_allclose(linear["exponent"], np.log(linear["alpha"]), atol=1e-10)
    assert (tanh["exponent"] < tanh["theory"]).all()


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(table):
    assert run_experiment(CONFIG).equals(table)
    assert not run_experiment(CONFIG.model_copy(update={"seed": 2})).equals(table)


@pytest.mark.parametrize("wrong", [{"alphas": [0]}, {"alphas": []}, {"alphas": [3.0]}, {"steps": 0}, {"alpha": [1.0]}])
def test_a_wrong_knob_is_named(wrong):
    with pytest.raises(ConfigError, match=rf"lab\.hochreiter\.{next(iter(wrong))}"):
        validate(wrong, Hochreiter, "lab.hochreiter")


def test_the_figure_has_measured_lines_on_their_theory_and_names_the_cells_asked_for(table):
    cells = {"rnn": 0.5 ** np.arange(48.0), "lstm": 7 * 0.98 ** np.arange(48.0), "janet": np.ones(48)}
    figure = draw_experiment(table, cells, ("lstm", "rnn", "unknown"), "bitcoin")
    left, middle, right = figure.axes
    assert len(left.lines) == len(middle.lines) == 10
    assert [axes.get_yscale() for axes in figure.axes] == ["log"] * 3
    named = {text.get_text() for text in right.texts}
    assert {"lstm", "rnn"} <= named
    assert not {"janet", "unknown"} & named
    lstm = next(line for line in right.lines if line.get_label() == "lstm")
    np.testing.assert_allclose(lstm.get_ydata(), 0.98 ** np.arange(48), rtol=1e-12)  # scaled to lag 0


def test_without_trained_cells_the_experiment_is_drawn_all_the_same(table):
    *_, right = draw_experiment(table, {}).axes
    assert "no trained cells yet" in [text.get_text() for text in right.texts]
